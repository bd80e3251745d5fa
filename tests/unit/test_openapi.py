"""docs/api/openapi.yaml is valid OpenAPI, is what the code says, and says what the code does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from handlers.main import TARGETS
from infra.openapi.document import FILE, document, of_service, text
from infra.openapi.tables import runner_answers, webhook_answers
from infra.openapi.webhook import names_read
from schemas.events import EVENT_TYPES
from shared.answers import consequence_of
from shared.errors import Deferred, NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.sweeper import SweepReport
from tests.support.webhooks import GUIDES_TEST, LEGACY_POST_CALL, POST_CALL

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def faults(described: Mapping[str, Any]) -> list[Exception]:
    """What OpenAPI 3.1 has against a document."""
    # Its import takes 2 s, which every worker would spend on collecting the tests.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    return list(OpenAPIV31SpecValidator(described).iter_errors())


def test_the_committed_document_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: python -m infra.openapi"


def test_it_is_valid_openapi_3_1_as_a_file_and_for_each_service() -> None:
    assert faults(yaml.safe_load(FILE.read_text(encoding="utf-8"))) == []
    for name in TARGETS:
        assert faults(of_service(name)) == [], name


def test_a_broken_document_is_noticed() -> None:
    broken = document()
    del broken["paths"]["/livez"]["get"]["responses"]["200"]["description"]
    assert faults(broken)


def test_every_service_has_more_than_its_sign_of_life() -> None:
    assert {name for name in TARGETS if len(of_service(name)["paths"]) < 2} == set()


@pytest.mark.parametrize(
    "error",
    [
        TransientFailure("a", "b"),
        TransientFailure("a", "b", retry_after_s=600),
        NotReady("a", "b"),
        Deferred("a", "b", until=NOW),
        TenantBlocked("a", "b"),
        PermanentFailure("a", "b"),
    ],
    ids=["transient", "long pause", "not ready", "deferred", "blocked", "final"],
)
def test_what_the_runner_answers_is_in_its_table(error: PipelineError) -> None:
    answer = consequence_of(error, now=NOW).answer
    status = answer.status if answer else 204
    told = " ".join(runner_answers()[status])
    assert "anything else" not in told
    assert any(name in told for name in (type(error).__name__, "vendor's pause of more than a minute"))


def test_every_row_of_the_receivers_table_is_an_answer_of_both_addresses() -> None:
    posts = [item["post"] for path, item in document()["paths"].items() if path.startswith("/v1/callrail")]
    assert len(posts) == 2
    for row in webhook_answers():
        if row.status in {404, 405}:
            continue
        for post in posts:
            answer = post["responses"][str(row.status)]
            assert all(code.rstrip("…") in json.dumps(answer) for code in row.codes), row


def test_the_body_names_what_the_code_reads() -> None:
    names = set(names_read())
    assert {"resource_id", "callernum", "customer_phone_number", "tags", "recording", "tenant_id"} <= names
    read = {name for body in (POST_CALL, LEGACY_POST_CALL, GUIDES_TEST) for name in body} & names
    assert len(read) > 30


def test_every_event_is_a_body_that_a_push_may_carry() -> None:
    data: dict[str, Any] = document()["components"]["schemas"]["PushRequest"]["properties"]["message"]["properties"][
        "data"
    ]
    assert {item["$ref"].rsplit("/", 1)[1] for item in data["contentSchema"]["oneOf"]} == {
        event.__name__ for event in EVENT_TYPES.values()
    }


def test_a_sweeps_report_has_the_documented_shape() -> None:
    sweep = document()["components"]["schemas"]["Sweep"]
    assert set(SweepReport({}, 0).document()) == set(sweep["properties"])
