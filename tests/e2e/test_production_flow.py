"""One call through a whole deployment: a signed webhook, the stages, the records in the CRMs, and nothing left over.

Against production, from the project's virtual environment, with credentials that may read the tenant and its secrets:

    python tests/e2e/test_production_flow.py --project-id ID --webhook-url https://HOST --tenant-id TENANT

Against the local stack it is one of the tests. The call is a missed one without audio: it costs nothing at Speech and
at the model. Its id begins with `CALflow-`, its number is one of those that belong to nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from handlers import privacy_wiring, wiring
from infra.local.senders import encode, post_webhook
from infra.local.standins.hubspot_hub import portal_name
from schemas.calls import CallRecord, CrmRecord
from schemas.tenant import Tenant
from shared.errors import PipelineError
from shared.gateways.http import json_client
from shared.gateways.hubspot_api import API_VERSION as HUBSPOT_VERSION
from shared.gateways.hubspot_api import BASE_URL as HUBSPOT_URL
from shared.gateways.salesforce_rest import API_VERSION as SALESFORCE_VERSION
from shared.gateways.salesforce_session import Deadline, SalesforceSession
from shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

_FINAL = frozenset({"done", "failed", "blocked", "not_processed"})
_LOOK_EVERY_S = 0.5
_CRM_TIMEOUT_S = 25.0
Say = Callable[[str], None]


class FlowFailed(Exception):
    """The deployment did not do what it must; the text says what."""


@dataclass
class Flow:
    """One run. What it made is written down as it is made, so that the cleaning up knows it whatever happens."""

    settings: Settings
    webhook_url: str
    tenant_id: str
    say: Say
    timeout_s: float = 600.0
    call_id: str = field(default_factory=lambda: f"CALflow-{secrets.token_hex(12)}")
    made: list[CrmRecord] = field(default_factory=list)

    def run(self) -> CallRecord:
        """Raises `FlowFailed`, after having cleaned up."""
        tenant = wiring.tenant_store(self.settings).show(self.tenant_id).tenant
        try:
            record = self._through(tenant)
        except BaseException:
            # The first fault counts; what cannot be cleaned up after it is said, not raised.
            try:
                self.clean_up(tenant)
            except (PipelineError, FlowFailed, httpx.HTTPError) as error:
                self.say(f"NOT cleaned up: {error}; call {self.call_id}")
            raise
        self.clean_up(tenant)
        return record

    def _through(self, tenant: Tenant) -> CallRecord:
        body = self._body(tenant)
        request_id = self._post(tenant, body)
        self._follow(request_id)
        record = self._record(tenant)
        for crm in record.crm:
            if self._in_crm(tenant, crm, "activity") != 200 or self._in_crm(tenant, crm, "person") != 200:
                raise FlowFailed(f"{crm.provider} does not hold what the pipeline says it wrote")
            self.say(f"{crm.provider} holds {crm.activity_type} {crm.activity_id} at {crm.person_type} {crm.person_id}")
        if self._post(tenant, body) != request_id:
            raise FlowFailed("the same webhook again began another request")
        self._follow(request_id)
        if [crm.activity_id for crm in self._record(tenant).crm] != [crm.activity_id for crm in record.crm]:
            raise FlowFailed("the same webhook again made other records")
        self.say("the same webhook again changed nothing")
        return record

    def _body(self, tenant: Tenant) -> bytes:
        number = f"+17205550{100 + secrets.randbelow(100)}"
        return encode(
            {
                "resource_id": self.call_id,
                "company_resource_id": tenant.config.callrail_company_ids[0],
                "answered": False,
                "call_type": "missed",
                "direction": "inbound",
                "duration": "0",
                "start_time": (wiring.now() - timedelta(minutes=4)).isoformat(timespec="seconds"),
                "customer_name": "DEPLOYMENT TEST",
                "customer_phone_number": number,
                "tracking_phone_number": "+17205550110",
                "business_phone_number": "+13035550199",
                "recording": "",
                "lead_status": "",
                "tags": ["deployment test"],
            }
        )

    def _post(self, tenant: Tenant, body: bytes) -> str:
        key = wiring.secrets(self.settings).read(tenant.config.webhook_secret_names[0])
        answer = post_webhook(self.webhook_url, body, key=key)
        if answer.status_code != 202:
            raise FlowFailed(f"the receiver answered {answer.status_code}: {answer.text}")
        self.say(f"posted {self.call_id}: 202, request {answer.json()['request_id']}")
        return str(answer.json()["request_id"])

    def _follow(self, request_id: str) -> None:
        """Raises `FlowFailed` unless the request is done in time."""
        begun, reader, told = time.monotonic(), wiring.calls(self.settings), ""
        while time.monotonic() - begun < self.timeout_s:
            lines = [one for one in reader.story(self.tenant_id, self.call_id) if one.request_id == request_id]
            state = lines[0].request_state if lines else "not seen yet"
            where = ", ".join(f"{line.stage} {line.state}" for line in lines if line.stage)
            if (now := f"{state}: {where}") != told:
                self.say(told := now)
            if state in _FINAL:
                break
            time.sleep(_LOOK_EVERY_S)
        if state != "done":
            problems = [f"{line.stage}: {line.error_code} {line.error_detail}" for line in lines if line.error_code]
            raise FlowFailed(f"the call is {state} after {self.timeout_s:g} s at most; {'; '.join(problems)}")

    def _record(self, tenant: Tenant) -> CallRecord:
        record = wiring.calls(self.settings).get(self.tenant_id, self.call_id)
        if record is None or record.analysis is None:
            raise FlowFailed("the finished call has no record, or no analysis")
        self.made = list(record.crm)
        missing = set(tenant.config.crm_config.providers) - {crm.provider for crm in record.crm}
        if missing:
            raise FlowFailed(f"the call is done and not in {', '.join(sorted(missing))}")
        return record

    # --- cleaning up --------------------------------------------------------------------------------------

    def clean_up(self, tenant: Tenant) -> None:
        """Delete the records in the CRMs, erase the call, and say what stays. Raises when a CRM keeps a record."""
        record = wiring.calls(self.settings).get(self.tenant_id, self.call_id)
        if record is not None:
            # A call that failed on its way may have reached one of two CRMs.
            self.made = list(record.crm)
        for crm in self.made:
            for part in ("activity", "person"):
                if part == "person" and not crm.person_created:
                    self.say(f"{crm.provider}: {crm.person_type} {crm.person_id} was there before and stays")
                    continue
                self._in_crm(tenant, crm, part, method="DELETE")
                if self._in_crm(tenant, crm, part) == 200:
                    raise FlowFailed(f"{crm.provider} still holds the {part} of {self.call_id}")
            self.say(f"{crm.provider}: what this test made is deleted")
        certificate = privacy_wiring.privacy_desk(self.settings).erase(
            self.tenant_id, [self.call_id], subject=f"call {self.call_id}", actor="production flow test"
        )
        rows = sum(call.call_rows for call in certificate.calls)
        self.say(f"the call is erased ({rows} row emptied); its id, states, times and the audit line stay")

    def _in_crm(self, tenant: Tenant, crm: CrmRecord, part: str, *, method: str = "GET") -> int:
        """The CRM's status for a record, asked as the tenant; 204 for a deletion, 404 when it is gone."""
        kind, record_id = (
            (crm.activity_type, crm.activity_id) if part == "activity" else (crm.person_type, crm.person_id)
        )
        with self._session(tenant, crm.provider) as ask:
            return ask(method, kind, record_id)

    @contextmanager
    def _session(self, tenant: Tenant, provider: str) -> Iterator[Callable[[str, str, str], int]]:
        vault, crm = wiring.secrets(self.settings), tenant.config.crm_config
        if provider == "hubspot":
            assert crm.hubspot
            token = vault.read(crm.hubspot.token_secret).strip()
            base_url = self.settings.stand_ins.hubspot_url or HUBSPOT_URL
            with json_client(base_url, headers={"Authorization": f"Bearer {token}"}) as client:
                objects = f"/crm/objects/{HUBSPOT_VERSION}"
                yield (
                    lambda method, kind, record_id: client.request(method, f"{objects}/{kind}s/{record_id}").status_code
                )
            return
        assert crm.salesforce
        session = SalesforceSession(
            secret_name=crm.salesforce.credentials_secret,
            secrets=vault,
            clock=wiring.now,
            login_url_override=self.settings.stand_ins.salesforce_url,
        )
        try:
            objects = f"/services/data/{SALESFORCE_VERSION}/sobjects"
            yield (
                lambda method, kind, record_id: (
                    session.request(
                        method, f"{objects}/{kind.capitalize()}/{record_id}", deadline=Deadline.after(_CRM_TIMEOUT_S)
                    ).status_code
                )
            )
        finally:
            session.close()


def main(arguments: list[str]) -> int:
    """Exit status 1 when the deployment failed the test, 2 when it could not be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project-id", required=True)
    parser.add_argument("--webhook-url", required=True)
    parser.add_argument("--tenant-id", required=True)
    parser.add_argument("--timeout-s", type=float, default=600.0)
    options = parser.parse_args(arguments)
    # The one place outside settings that writes the environment: settings read the project from it.
    os.environ["GOOGLE_CLOUD_PROJECT"] = options.project_id

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        Flow(load_settings(), options.webhook_url, options.tenant_id, say, timeout_s=options.timeout_s).run()
    except FlowFailed as error:
        say(f"FAILED: {error}")
        return 1
    except PipelineError as error:
        say(f"could not be run: {error.detail}. {error.fix}")
        return 2
    say("passed")
    return 0


# --- against the local stack ------------------------------------------------------------------------------


def _arguments(stack: LocalStack) -> list[str]:
    project = stack.env["GOOGLE_CLOUD_PROJECT"]
    return ["--project-id", project, "--webhook-url", stack.env["WEBHOOK_URL"], "--tenant-id", stack.tenant_id]


@pytest.mark.emulators
def test_a_call_goes_the_whole_way_and_leaves_nothing_behind(
    local_stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not at the top: against production this file runs as a program, without the package of the tests.
    from tests.e2e.calls import held

    status = main([*_arguments(local_stack), "--timeout-s", "60"])

    said = capsys.readouterr().out
    assert status == 0, said
    assert re.findall(r"^(\w+ holds \w+)", said, re.MULTILINE) == ["hubspot holds call", "salesforce holds task"]
    call_id = said.split("posted ")[1].split(":")[0]
    records = {one for ids in re.findall(r" holds \w+ (\S+) at \w+ (\S+)$", said, re.MULTILINE) for one in ids}
    found_there = set(re.findall(r" (\S+) was there before and stays$", said, re.MULTILINE))
    assert len(records) == 4
    assert records & _held(local_stack) == found_there
    assert held(local_stack, call_id).counts() == (0, 0, 0, 0)
    assert local_stack.calls().get(local_stack.tenant_id, call_id) is None


@pytest.mark.emulators
def test_a_call_that_does_not_arrive_fails_the_test_and_is_cleaned_up(
    local_stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    local_stack.tell("hubspot", "faults", [{"kind": "status", "status": 503, "times": 1000}])
    try:
        status = main([*_arguments(local_stack), "--timeout-s", "8"])
    finally:
        local_stack.heal("hubspot")

    said = capsys.readouterr().out
    assert status == 1, said
    assert "FAILED: the call is" in said
    assert "the call is erased" in said


def _held(stack: LocalStack) -> set[str]:
    """Record ids in the demo tenant's accounts. Ids of different accounts overlap, at the vendors too."""
    vault = wiring.secrets(load_settings())
    portal = portal_name(vault.read(f"{stack.tenant_id}-hubspot-token"))
    key = json.loads(vault.read(f"{stack.tenant_id}-salesforce-credentials"))["consumer_key"]
    hubspot, org = stack.state("hubspot"), stack.state("salesforce")["orgs"][key]
    ours = {one["id"] for kind in ("calls", "contacts") for one in hubspot[kind] if one["portal"] == portal}
    return ours | {one["Id"] for kind in ("tasks", "leads", "contacts") for one in org[kind]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
