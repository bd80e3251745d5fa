"""A call as a sales person wants to read it in the CRM: title, sections, most important first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.analysis import CallAnalysis
from schemas.calls import CallDetails, CallRecord, CrmRecord, Marketing, Marks
from schemas.crm import CrmCall, CrmSection
from schemas.plain_text import without_links
from schemas.transcript import Transcript

NOT_ANALYZED = "not analyzed yet"
"""Ends the title of a call that no model has judged."""
_TITLE_CHARACTERS = 255
_NOT_JUDGED = CrmSection(
    heading="Analysis", lines=("Not available yet. This record is completed as soon as the analysis is.",)
)


@dataclass(frozen=True)
class ScoreBands:
    """Scores from `hot` up are hot, from `warm` up warm, all others cold: the bands that buyers are used to."""

    hot: int = 70
    warm: int = 40

    def of(self, score: int) -> str:
        if score >= self.hot:
            return "hot"
        return "warm" if score >= self.warm else "cold"


def crm_call(call: CallRecord, *, bands: ScoreBands, previous: CrmRecord | None) -> CrmCall:
    """The call for one CRM; `previous` is what an earlier sync left there. Empty sections are left out.

    A call that no model has judged says so: no score and no summary are made up for it.
    """
    analysis = call.analysis
    sections = (
        *(_judged_sections(analysis, bands=bands) if analysis else (_NOT_JUDGED,)),
        CrmSection(heading="Marketing", lines=_marketing_lines(call.details.marketing)),
        CrmSection(heading="Marks", lines=_marks_lines(call.details.marks)),
        CrmSection(heading="Recording", lines=_recording_lines(call, analysis)),
        CrmSection(heading="Transcript", lines=_transcript_lines(call.transcript)),
    )
    return CrmCall(
        tenant_id=call.tenant_id,
        call_id=call.details.call_id,
        details=call.details,
        analysis=analysis,
        title=title(call.details, analysis, bands=bands),
        sections=tuple(section for section in sections if section.lines),
        previous=previous,
    )


def _judged_sections(analysis: CallAnalysis, *, bands: ScoreBands) -> tuple[CrmSection, ...]:
    return (
        CrmSection(heading="Summary", lines=(analysis.summary,)),
        CrmSection(heading="Next step", lines=(analysis.next_step,)),
        _score_section(analysis, bands=bands),
        CrmSection(heading="Topics", lines=analysis.topics),
    )


def title(details: CallDetails, analysis: CallAnalysis | None, *, bands: ScoreBands) -> str:
    """`Call from +13035550123: new lead (score 82, hot)`, at most 255 characters."""
    kind = "Voicemail" if details.voicemail else "Call"
    preposition = "from" if details.direction == "inbound" else "to"
    number = details.caller_number or "a withheld number"
    if analysis is None:
        return f"{kind} {preposition} {number}: {NOT_ANALYZED}"[:_TITLE_CHARACTERS]
    score = f"score {analysis.lead_score}, {bands.of(analysis.lead_score)}"
    return f"{kind} {preposition} {number}: {_plain(analysis.intent)} ({score})"[:_TITLE_CHARACTERS]


def previous_record(call: CallRecord, provider: str) -> CrmRecord | None:
    """What an earlier sync of this call left in this CRM."""
    return next((record for record in call.crm if record.provider == provider), None)


def _score_section(analysis: CallAnalysis, *, bands: ScoreBands) -> CrmSection:
    judgement = "qualified" if analysis.qualified else "not qualified"
    lines = [f"{analysis.lead_score} of 100 ({bands.of(analysis.lead_score)}, {judgement})"]
    lines += [f"- {reason}" for reason in analysis.lead_score_reasons]
    lines.append(f"Intent: {_plain(analysis.intent)}. Sentiment: {analysis.sentiment}.")
    return CrmSection(heading="Lead score", lines=tuple(lines))


def _marketing_lines(marketing: Marketing) -> tuple[str, ...]:
    """Anybody can write into an address's parameters; the two addresses themselves stay, being what was asked for."""
    return _named(
        {
            "Source": without_links(marketing.source),
            "Medium": without_links(marketing.medium),
            "Campaign": without_links(marketing.campaign),
            "Keywords": without_links(marketing.keywords),
            "Google click id": without_links(marketing.gclid),
            "Landing page": marketing.landing_page_url,
            "Referrer": marketing.referring_url,
            "UTM source": without_links(marketing.utm_source),
            "UTM medium": without_links(marketing.utm_medium),
            "UTM campaign": without_links(marketing.utm_campaign),
        }
    )


def _marks_lines(marks: Marks) -> tuple[str, ...]:
    return _named(
        {
            "Tags": without_links(", ".join(marks.tags)),
            "Note": without_links(marks.note),
            "Value": marks.value,
            "Lead status": _plain(marks.lead_status),
        }
    )


def _recording_lines(call: CallRecord, analysis: CallAnalysis | None) -> tuple[str, ...]:
    """What there is to listen to, and a word of caution when nothing was."""
    lines = [_recording_line(call)]
    if analysis is not None and analysis.basis == "metadata":
        lines.append("Judged from the call's details alone: no words were known.")
    return tuple(lines)


def _recording_line(call: CallRecord) -> str:
    if call.audio_s is not None:
        return f"Recorded, {clock(call.audio_s)} long."
    if call.transcript is not None:
        return "Recorded."
    return f"No recording: {_plain(call.no_audio_reason) or 'none was made'}."


def _transcript_lines(transcript: Transcript | None) -> tuple[str, ...]:
    if transcript is None:
        return ()
    return tuple(
        f"{clock(turn.start_s)} {_plain(turn.speaker).capitalize()}: {without_links(turn.text)}"
        for turn in transcript.turns
    )


def clock(seconds: float) -> str:
    """`mm:ss`; minutes go past 59."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def _named(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in values.items() if value)


def _plain(name: str) -> str:
    return name.replace("_", " ")
