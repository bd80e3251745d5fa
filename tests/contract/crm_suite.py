"""What every CRM gateway must do, whatever the vendor: one suite, run against each stand-in over HTTP.

A vendor's test module implements `CrmHarness` (tests/support/crm_harness.py) and inherits the tests:

    class TestHubSpot(CrmSuite):
        @pytest.fixture
        def harness(self) -> CrmHarness: ...
"""

from __future__ import annotations

from tests.contract.crm_erasure import CrmErasing
from tests.contract.crm_people import CrmPeople
from tests.contract.crm_texts import CrmTexts
from tests.contract.crm_trouble import CrmTrouble


class CrmSuite(CrmPeople, CrmTrouble, CrmTexts, CrmErasing):
    """Inherit, override `harness`."""
