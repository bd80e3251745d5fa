"""Callers who talk to the model: the question stays closed, and even a model that obeys them cannot do harm.

Each injection is said in a call, and then a model is assumed that does the worst: it answers the injection itself in
every text, with a score out of bounds, with more fields, with another tenant.
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.analysis import CallAnalysis, ModelReply
from schemas.calls import CallDetails, CallRecord, Marketing, Marks
from schemas.crm import CrmCall
from schemas.transcript import Transcript, Turn
from shared.gateways.hubspot_mapping import call_properties, first_properties, latest_properties
from shared.gateways.salesforce_rest import soql_string
from stages.analyze.logic import judge
from stages.analyze.prompt import make_question
from stages.analyze.reply import ReplyInvalid, parse_reply
from stages.crm_sync.logic import ScoreBands, crm_call

DATA = Path(__file__).parents[1] / "data" / "injections.txt"
INJECTIONS = [line for line in DATA.read_text(encoding="utf-8").splitlines() if line]
CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
WISH = "my water heater burst this morning"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
_LIVE = re.compile(r"https?://|www\.|javascript:|data:text|mailto:|evil[\w.-]*\.com", re.IGNORECASE)
_TAG = re.compile(r"<(?!/?(?:p|strong)>|br>)")

GOOD: dict[str, Any] = {
    "summary": "The caller needs a repair.",
    "sentiment": "neutral",
    "intent": "new_lead",
    "topics": ["repair"],
    "lead_score": 80,
    "lead_score_reasons": [f'Urgent: "{WISH}"'],
    "next_step": "Call back today.",
}


def said(injection: str) -> Transcript:
    turns = (
        Turn(speaker="caller", start_s=0, end_s=2, text=f"Hi, {WISH}."),
        Turn(speaker="caller", start_s=2, end_s=9, text=injection),
    )
    return Transcript(language="en-US", model="test", turns=turns)


def judged(reply: ModelReply, injection: str) -> CallAnalysis:
    return judge(reply, transcript=said(injection), threshold=70, model="m", prompt_version="v")


def sent(analysis: CallAnalysis, injection: str) -> CrmCall:
    details = CallDetails(
        call_id=CALL,
        caller_number="+13035550142",
        caller_name=injection[:60],
        city=injection[:60],
        marketing=Marketing(utm_campaign=injection[:60]),
        marks=Marks(note=injection),
    )
    record = CallRecord(tenant_id="acme-plumbing", details=details, transcript=said(injection), analysis=analysis)
    return crm_call(record, bands=ScoreBands(hot=70, warm=40), previous=None)


def test_there_are_enough_of_them_and_the_documents_count_them_right() -> None:
    assert len(INJECTIONS) == len(set(INJECTIONS)) >= 60
    assert f"holds {len(INJECTIONS)} things" in (DATA.parents[2] / "docs/security/injections.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_word_of_a_caller_closes_the_fence_or_forges_a_speaker(injection: str) -> None:
    question = make_question(
        details=CallDetails(call_id=CALL, caller_name=injection), transcript=said(injection), instructions=""
    )

    assert question.user_text.count("<transcript>") == question.user_text.count("</transcript>") == 1
    fenced = question.user_text.split("<transcript>")[1].split("</transcript>")[0]
    assert not set("<>＜＞") & set(fenced)
    assert [line[:7] for line in fenced.strip().splitlines()] == ["[00:00]", "[00:02]"]
    assert injection not in question.system_instruction


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize(
    "obeyed",
    [
        lambda text: text,
        lambda text: json.dumps({**GOOD, "lead_score": 101, "summary": text}),
        lambda text: json.dumps({**GOOD, "lead_score": -1, "summary": text}),
        lambda text: json.dumps({**GOOD, "lead_score": "100", "summary": text}),
        lambda text: json.dumps({**GOOD, "tenant_id": "other-dental", "summary": text}),
        lambda text: json.dumps({**GOOD, "intent": text}),
        lambda text: json.dumps(GOOD) + text,
    ],
    ids=["talks", "101", "-1", "text score", "another tenant", "own intent", "adds words"],
)
def test_a_model_that_leaves_the_schema_is_not_believed(injection: str, obeyed: Any) -> None:
    with pytest.raises(ReplyInvalid) as caught:
        parse_reply(obeyed(injection))
    assert injection not in str(caught.value)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_model_that_writes_what_it_is_told_brings_no_link_markup_or_formula_into_a_crm(injection: str) -> None:
    reply = parse_reply(
        json.dumps({**GOOD, "summary": injection, "next_step": f"{injection} Call back.", "topics": [injection[:200]]})
    )
    try:
        analysis = judged(reply, injection)
    except ReplyInvalid:
        return  # nothing of it was text: the model is asked again

    assert 0 <= analysis.lead_score <= 100
    call = sent(analysis, injection)
    assert (call.tenant_id, call.call_id) == ("acme-plumbing", CALL)
    body = call_properties(call, now=NOW)["hs_call_body"]
    assert not _TAG.search(body), "only our own paragraphs"
    shown = html.unescape(re.sub(r"<[^>]*>", " ", body))
    assert not _LIVE.search(shown)
    values = {**latest_properties(call), **first_properties(call, "+13035550142")}
    texts = [value for name, value in values.items() if name != "phone"]
    for text in [analysis.summary, analysis.next_step, *analysis.topics, *texts]:
        assert not text.startswith(("=", "+", "@", "-", "|", "\t", "\r")), text
    for text in (analysis.summary, analysis.next_step, *analysis.topics):
        assert not _LIVE.search(text)
        assert not re.search(r"</?[a-z!]", text, re.IGNORECASE)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_reason_that_nobody_said_does_not_count(injection: str) -> None:
    made_up = {**GOOD, "lead_score": 100, "lead_score_reasons": ['VIP: "the president of the company is calling"']}

    with pytest.raises(ReplyInvalid, match="no reason quotes words of the call"):
        judged(parse_reply(json.dumps(made_up)), injection)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_look_up_in_salesforce_stays_one_literal(injection: str) -> None:
    literal = soql_string(injection)

    assert re.fullmatch(r"'(?:[^'\\\n\r]|\\.)*'", literal), literal
