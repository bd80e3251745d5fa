"""What a sentence about a request may need, and the parts of sentences that several situations share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.meanings.registry import meaning_of
from shared.moments import duration, moment
from shared.story import CallStory, LetterFacts, RequestFacts, RunFacts, SchemaGap
from shared.whereabouts.situations import Pace

SWEEP = "pipeline sweep --once"


@dataclass(frozen=True)
class Words:
    """Sentences for one situation; `commands` are to be typed, with TENANT and CALL still to be filled in."""

    where: str
    because: str
    next_try: str
    helps: str
    commands: tuple[str, ...] = ()
    next_try_at: datetime | None = None


@dataclass(frozen=True)
class Case:
    """One request of a call, and the moment at which somebody asks."""

    story: CallStory
    request: RequestFacts
    schema: SchemaGap
    now: datetime
    pace: Pace

    @property
    def run(self) -> RunFacts:
        """The stage that began last. Every situation but RECEIVED follows from one."""
        return self.request.runs[-1]

    @property
    def letter(self) -> LetterFacts:
        """Its dead letter: the situations that speak of one follow from it."""
        letter = self.story.letter_of(self.run.request_id, self.run.stage)
        if letter is None:
            raise LookupError("the situation follows from a dead letter")
        return letter

    def at(self, when: datetime) -> str:
        return moment(when, now=self.now)

    def sweep_at(self, due: datetime) -> str:
        """When the sweeper sends what is due; what is due for long was not swept."""
        late = self.now - due
        if late > self.pace.sweep_late_after:
            return f"the sweeper sends it, and should have {duration(late)} ago (is it running?)"
        return f"the first sweep after {self.at(due)} sends it"


def error_words(run: RunFacts) -> str:
    """What the code means, then the code and its detail for whoever searches the log."""
    if not run.code:
        return "no error was recorded"
    meaning = meaning_of(run.code)
    said = f"{run.code}: {run.detail}" if run.detail else run.code
    return f"{meaning.means} ({said})" if meaning else said


def advice(run: RunFacts, *, otherwise: str) -> str:
    """What was advised where the error arose, which knows names; else what the table advises."""
    meaning = meaning_of(run.code) if run.code else None
    return run.fix or (meaning.helps if meaning else otherwise)


def advice_after_giving_up(run: RunFacts) -> str:
    """The same for a dead letter: what time mends while it is retried needs a replay now."""
    words = advice(run, otherwise="mend the cause, then replay")
    return "wait until what failed is well again, then replay" if words.startswith("nothing") else words


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def circuit_words(case: Case) -> str:
    """What the vendor's circuit has to do with it; empty when nothing is known of one."""
    circuit = case.story.circuit_of(case.run.vendor)
    if circuit is None:
        return ""
    if circuit.state != "closed":
        how = "refuses this tenant" if circuit.state == "blocked" else "has no quota left for this tenant now"
        return f". {circuit.vendor} {how}, so no call is sent there; one probe is due at {case.at(circuit.probe_at)}"
    if circuit.failures:
        return f". {circuit.vendor} refused {times(circuit.failures)} in a row; its circuit is still closed"
    return f". {circuit.vendor} answers this tenant again"
