"""Credentials, and a bad day at the vendor: what every CRM gateway does then."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import TenantBlocked, TransientFailure
from tests.support.crm_calls import CALLER, crm_call
from tests.support.crm_harness import CrmHarness, OfOneCrm, Step


class CrmTrouble(OfOneCrm):
    """Refused, throttled, broken."""

    # --- credentials ------------------------------------------------------------------------------

    def test_rotated_secret_is_picked_up(self, harness: CrmHarness) -> None:
        gateway = harness.gateway()
        gateway.sync_call(crm_call("CAL0a"))
        harness.rotate_secret()

        gateway.sync_call(crm_call("CAL0b"))

        assert sorted(call.call_id for call in harness.calls()) == ["CAL0a", "CAL0b"]

    def test_refused_secret_blocks_the_tenant_and_says_what_to_mend(self, harness: CrmHarness) -> None:
        harness.revoke_secret()

        with pytest.raises(TenantBlocked) as caught:
            harness.gateway().sync_call(crm_call())

        assert caught.value.fix
        assert CALLER not in str(caught.value)

    def test_the_other_tenants_account_is_untouched(self, harness: CrmHarness) -> None:
        harness.gateway("other").sync_call(crm_call(title="theirs"))
        theirs = (harness.persons("other"), harness.calls("other"))

        harness.gateway("own").sync_call(crm_call(title="ours"))

        assert (harness.persons("other"), harness.calls("other")) == theirs
        assert [call.title for call in harness.calls("own")] == ["ours"]
        assert len(harness.persons("own")) == 1

    # --- a bad day at the vendor ------------------------------------------------------------------

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    @pytest.mark.parametrize("status", [500, 503])
    def test_one_server_error_is_ridden_out(self, harness: CrmHarness, step: Step, status: int) -> None:
        harness.fault(step, kind="status", status=status)

        harness.gateway().sync_call(crm_call())

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    def test_lasting_server_errors_go_to_the_outer_ring(self, harness: CrmHarness, step: Step) -> None:
        harness.fault(step, kind="status", status=503, times=50)
        with pytest.raises(TransientFailure):
            harness.gateway().sync_call(crm_call())
        harness.clear_faults()

        harness.gateway().sync_call(crm_call())

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)

    def test_throttling_with_a_short_hint_is_waited_out(self, harness: CrmHarness) -> None:
        harness.fault("call", kind="status", status=429, headers={"Retry-After": "1"})

        harness.gateway().sync_call(crm_call())

        assert len(harness.calls()) == 1

    def test_throttling_with_a_long_hint_is_passed_on(self, harness: CrmHarness) -> None:
        harness.fault("call", kind="status", status=429, headers={"Retry-After": "120"}, times=50)

        with pytest.raises(TransientFailure) as caught:
            harness.gateway().sync_call(crm_call())

        assert caught.value.retry_after_s == 120
        assert harness.calls() == []

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    @pytest.mark.parametrize("body", ["<html>maintenance</html>", {"surprise": 1}, [], None])
    def test_an_answer_that_makes_no_sense_is_not_taken_for_success(
        self, harness: CrmHarness, step: Step, body: Any
    ) -> None:
        harness.fault(step, kind="rubbish", body=body, times=50)

        with pytest.raises(TransientFailure):
            harness.gateway().sync_call(crm_call())
