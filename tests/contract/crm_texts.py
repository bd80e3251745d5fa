"""Texts of callers and of the model in a CRM's fields: shown, never obeyed, cut where they are too long."""

from __future__ import annotations

import pytest

from schemas.crm import CrmSection
from tests.support.crm_calls import call_details, crm_call
from tests.support.crm_harness import SAFE_MARKUP, CrmHarness, OfOneCrm


class CrmTexts(OfOneCrm):
    """What a sales person reads."""

    def test_markup_in_texts_is_shown_not_obeyed(self, harness: CrmHarness) -> None:
        attack = "<img src=x onerror=alert(1)><a href='https://evil.example.com'>win</a> & <script>x</script>"
        sections = (CrmSection(heading="Summary <b>", lines=(attack,)),)
        details = call_details(caller_name="<b>Dana</b> Example")

        harness.gateway().sync_call(crm_call(details=details, sections=sections))

        (call,) = harness.calls()
        (person,) = harness.persons()
        assert attack in call.body_text
        assert "Summary <b>" in call.body_text
        assert call.markup <= SAFE_MARKUP
        assert "<" not in person.name

    @pytest.mark.parametrize("letter", ["x", "&", "💧"])
    def test_texts_longer_than_the_field_are_cut_from_the_end(self, harness: CrmHarness, letter: str) -> None:
        sections = (
            CrmSection(heading="Summary", lines=("most important",)),
            CrmSection(heading="Transcript", lines=tuple(letter * 900 for _ in range(120))),
        )

        harness.gateway().sync_call(crm_call(title="t" * 400, sections=sections))

        (call,) = harness.calls()
        assert len(call.title) <= 255
        assert harness.body_limit // 3 < len(call.body) <= harness.body_limit
        assert "most important" in call.body_text
