"""What a call looks like in Salesforce's fields, and how credentials, searches and errors are read. No sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calls import Marketing
from schemas.crm import CrmSection
from shared.errors import ConfigurationError, PermanentFailure, TenantBlocked, Throttled, TransientFailure
from shared.gateways.salesforce_auth import INSTANCE_DOMAINS, check_override, is_https_host_of, parse_credentials
from shared.gateways.salesforce_errors import Refusal, read_problem
from shared.gateways.salesforce_fields import (
    DESCRIPTION_LENGTH,
    cut,
    disposition,
    new_person_values,
    origin_text,
    rating,
    score_values,
    task_values,
)
from shared.gateways.salesforce_people import phone_search
from shared.gateways.salesforce_rest import FieldFacts, ObjectFacts, Write, soql_string
from shared.gateways.salesforce_session import Deadline
from tests.support.crm_calls import call_analysis, call_details, crm_call

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OUR_FIELDS = frozenset({"Ext_Call_Id__c", "Ext_Intent__c", "Phone"})


class TestTask:
    def test_sections_become_plain_text_in_their_order(self) -> None:
        sections = (CrmSection(heading="Summary", lines=("A <b>", "B & C")), CrmSection(heading="Next", lines=("D",)))

        assert task_values(crm_call(sections=sections))["Description"] == "Summary\nA <b>\nB & C\n\nNext\nD"

    def test_facts_that_are_not_known_are_not_written(self) -> None:
        values = task_values(crm_call(details=call_details(started_at=None, duration_s=None)))

        assert not {"ActivityDate", "CallDurationInSeconds"} & set(values)

    def test_the_day_is_the_day_where_the_call_was_taken(self) -> None:
        late = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(timedelta(hours=-8)))

        assert task_values(crm_call(details=call_details(started_at=late)))["ActivityDate"] == "2026-11-20"
        assert score_values(crm_call(details=call_details(started_at=late)))["Ext_Last_Call_At__c"] == (
            "2026-11-21T07:30:00.000+0000"
        )

    @pytest.mark.parametrize(
        ("facts", "expected"),
        [
            ({"answered": True}, "Answered"),
            ({"answered": False}, "Missed"),
            ({"answered": False, "voicemail": True}, "Voicemail"),
            ({"answered": None}, ""),
        ],
    )
    def test_disposition_says_how_the_call_ended(self, facts: dict[str, Any], expected: str) -> None:
        assert disposition(call_details(**facts)) == expected

    def test_long_advice_fits_its_field(self) -> None:
        values = task_values(crm_call(analysis=call_analysis(next_step="n" * 500), title="t" * 400))

        assert (len(values["Ext_Next_Step__c"]), len(values["Subject"])) == (255, 255)


class TestPerson:
    @pytest.mark.parametrize(
        ("score", "expected"), [(100, "Hot"), (70, "Hot"), (69, "Warm"), (40, "Warm"), (39, "Cold")]
    )
    def test_rating_follows_the_score(self, score: int, expected: str) -> None:
        assert rating(score) == expected

    @pytest.mark.parametrize(
        "source", ["=HYPERLINK(1)", "<b>x</b>", "https://evil.example/x", "+1+cmd", "[a](javascript:b)"]
    )
    def test_a_source_that_anybody_wrote_is_no_formula_link_or_markup(self, source: str) -> None:
        call = crm_call(details=call_details(marketing=Marketing(source=source, campaign=source)))

        values = new_person_values("Lead", call, phone="+13035550142")

        shown = [values["LeadSource"], *(line.partition(": ")[2] for line in values["Description"].split("\n")[1:])]
        assert not [text for text in shown if text.startswith(("=", "+", "-", "@")) or "<" in text or "://" in text]
        assert "javascript:" not in str(values)

    @pytest.mark.parametrize(
        "name", ["=CMD EXAMPLE", "EXAMPLE,=CMD", "ALEX =EXAMPLE", "@SUM,+ALEX", "<b>=A</b> EXAMPLE"]
    )
    def test_neither_part_of_a_callers_name_is_a_formula(self, name: str) -> None:
        values = new_person_values("Contact", crm_call(details=call_details(caller_name=name)), phone="+13035550142")

        for part in ("FirstName", "LastName"):
            assert not str(values.get(part, "")).startswith(("=", "+", "-", "@", "<"))

    @pytest.mark.parametrize("name", ["", "WIRELESS CALLER", "<script>"])
    def test_a_lead_without_a_name_has_placeholders(self, name: str) -> None:
        values = new_person_values("Lead", crm_call(details=call_details(caller_name=name)), phone="+12025550143")

        assert (values["LastName"], values["Company"]) == ("Unknown caller", "[not provided]")
        assert "FirstName" not in values

    def test_a_contact_has_no_company_field(self) -> None:
        assert "Company" not in new_person_values("Contact", crm_call(), phone="+12025550143")

    def test_origin_names_place_and_marketing_and_skips_what_is_empty(self) -> None:
        assert origin_text(call_details()).splitlines() == [
            "Created from a phone call.",
            "Location: Washington, DC, US",
            "Source: Google Ads",
            "Medium: cpc",
            "Campaign: heaters",
        ]


class TestCut:
    @given(st.text(alphabet=st.sampled_from("a\n💧é<"), max_size=60), st.integers(1, 40))
    def test_result_is_a_beginning_that_salesforce_counts_within_the_limit(self, text: str, limit: int) -> None:
        result = cut(text, limit)

        assert text.startswith(result)
        assert _salesforce_length(result) <= limit
        assert result == text or _salesforce_length(text) > limit

    def test_as_much_as_fits_is_kept(self) -> None:
        assert len(cut("x" * 40_000, DESCRIPTION_LENGTH)) == DESCRIPTION_LENGTH


def _salesforce_length(text: str) -> int:
    return len(text.replace("\n", "\r\n").encode("utf-16-le")) // 2


class TestLookups:
    def test_search_gets_national_digits_and_living_leads(self) -> None:
        facts = {
            "Contact": ObjectFacts("Contact", {"Phone": _FIELD}),
            "Lead": ObjectFacts("Lead", {"Phone": _FIELD, "Rating": _FIELD}),
        }

        assert phone_search("+12025550143", facts) == (  # type: ignore[arg-type] # plain str keys read better here
            "FIND {2025550143} IN PHONE FIELDS RETURNING "
            "Contact(Id, CreatedDate, Phone ORDER BY CreatedDate LIMIT 50), "
            "Lead(Id, CreatedDate, Phone, Rating WHERE IsConverted = false ORDER BY CreatedDate LIMIT 50)"
        )

    @pytest.mark.parametrize(
        ("value", "literal"),
        [("a'b", r"'a\'b'"), ("a\\", r"'a\\'"), ("a\nb", r"'a\nb'"), (r"\' OR Id != ''", r"'\\\' OR Id != \'\''")],
    )
    def test_soql_strings_cannot_be_left(self, value: str, literal: str) -> None:
        assert soql_string(value) == literal

    def test_external_ids_are_one_part_of_the_address(self) -> None:
        write = Write("task", "Task", {}, external_field="Ext_Call_Id__c", external_value="t1:call/1 +ü")

        assert write.as_subrequest()["url"].endswith("/sobjects/Task/Ext_Call_Id__c/t1%3Acall%2F1%20%2B%C3%BC")

    def test_only_a_unique_external_id_is_a_key(self) -> None:
        facts = ObjectFacts("Lead", {"Ext_Caller_Key__c": FieldFacts(True, True, False, True, 80)})

        assert not facts.has_key("Ext_Caller_Key__c")


_FIELD = FieldFacts(createable=True, updateable=True, unique=False, external_id=False, length=40)


class TestCredentials:
    def test_both_flows_name_their_token_host(self) -> None:
        short = {"flow": "client_credentials", "domain": "acme.my", "consumer_key": "k", "consumer_secret": "s"}
        long = {**short, "domain": "acme--uat.sandbox.my.salesforce.com"}
        signed = {"flow": "jwt_bearer", "consumer_key": "k", "username": "u@example.com", "private_key_pem": "p"}

        hosts = [parse_credentials(json.dumps(doc), secret_name="x").token_host for doc in (short, long, signed)]

        assert hosts == [
            "https://acme.my.salesforce.com",
            "https://acme--uat.sandbox.my.salesforce.com",
            "https://login.salesforce.com",
        ]

    @pytest.mark.parametrize(
        "changes",
        [
            {"login_url": "http://acme.my.salesforce.com"},
            {"login_url": "https://acme.my.salesforce.com.evil.example.com"},
            {"login_url": "https://evil.example.com/.salesforce.com"},
            {"login_url": "https://evilsalesforce.com"},
            {"login_url": "https://user@acme.my.salesforce.com"},
            {"login_url": "https://acme.my.salesforce.com:8443"},
            {"login_url": "https://169.254.169.254"},
            {"domain": "evil.example.com/"},
            {"domain": "evil.example.com#"},
            {"domain": "acme.my", "login_url": "https://acme.my.salesforce.com"},
            {"flow": "password"},
            {"consumer_secret": ""},
            {"unknown": "s3cret-value"},
        ],
    )
    def test_a_document_that_leads_elsewhere_or_lacks_something_is_refused(self, changes: dict[str, str]) -> None:
        document = {"flow": "client_credentials", "consumer_key": "k3y-value", "consumer_secret": "s3cret-value"}

        with pytest.raises(TenantBlocked) as caught:
            parse_credentials(json.dumps(document | changes), secret_name="acme-salesforce")

        assert "acme-salesforce" in caught.value.detail
        assert "s3cret-value" not in str(caught.value)
        assert "k3y-value" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "not json: s3cret", "[]", '{"flow": "jwt_bearer"}'])
    def test_what_is_no_document_is_refused_without_quoting_it(self, text: str) -> None:
        with pytest.raises(TenantBlocked) as caught:
            parse_credentials(text, secret_name="x")

        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "allowed"),
        [
            ("https://acme.my.salesforce.com", True),
            ("https://na1.salesforce.com/", True),
            ("https://acme.lightning.force.com", True),
            ("https://notforce.com", False),
            ("https://acme.my.salesforce.com/path", False),
            ("http://acme.my.salesforce.com", False),
            ("https://acme.my.salesforce.com@evil.example.com", False),
            ("https://acme.my.salesforce.com:99999", False),
            ("", False),
        ],
    )
    def test_tokens_go_to_salesforce_only(self, url: str, allowed: bool) -> None:
        assert is_https_host_of(url, INSTANCE_DOMAINS) is allowed

    @pytest.mark.parametrize("url", ["https://127.0.0.1:80", "http://10.0.0.5:80", "http://localhost.example.com"])
    def test_the_local_override_stays_on_this_machine(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            check_override(url)


class TestErrors:
    def test_only_names_of_our_fields_survive_of_a_message(self) -> None:
        body = [{"errorCode": "INVALID_FIELD", "message": "No such column 'Ext_Intent__c' for Dana on Phone_Secret"}]

        error = Refusal(read_problem(body, OUR_FIELDS), operation="composite", status=400).as_error(NOW)

        assert isinstance(error, TenantBlocked)
        assert "Ext_Intent__c" in error.detail
        assert "Dana" not in str(error)
        assert "Secret" not in str(error)

    def test_a_foreign_unique_field_is_no_race_of_ours(self) -> None:
        body = [{"errorCode": "DUPLICATE_VALUE", "message": "duplicate value found: Tax_Number__c duplicates …"}]

        error = Refusal(read_problem(body, OUR_FIELDS), operation="composite", status=400).as_error(NOW)

        assert isinstance(error, PermanentFailure)

    @pytest.mark.parametrize("body", [None, [], {}, "text", [{"message": "x"}], {"compositeResponse": []}])
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (500, TransientFailure),
            (429, Throttled),
            (302, TransientFailure),
            (403, TenantBlocked),
            (404, PermanentFailure),
        ],
    )
    def test_without_a_code_the_status_decides(self, body: Any, status: int, kind: type[Exception]) -> None:
        error = Refusal(read_problem(body, OUR_FIELDS), operation="search", status=status).as_error(NOW)

        assert isinstance(error, kind)

    def test_a_used_up_deadline_is_left_to_the_outer_ring(self) -> None:
        with pytest.raises(TransientFailure):
            Deadline.after(-1).timeout()
