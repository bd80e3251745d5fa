"""From recognised words to turns by speaker: pure functions, no vendor's types beyond the parsed output.

Pieces are made as fine as the output allows (words with times, else whole results) and put in the order of their
start. Where parties have a channel each, a speaker's pieces are first gathered into stretches without a pause, so that
the words of people who talk at the same time are not shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from schemas.transcript import Speaker, Turn
from shared.gateways.speech_output import SpeechResult, SpokenWord
from shared.ports import SpeechJob

PAUSE_S = 0.4
"""A speaker's silence in which the other one may have the floor; shorter ones are within a sentence."""
HOLD_S = 5.0
"""A speaker who goes on after a longer silence (hold music, a voicemail's beep) starts a new turn."""

SECONDS_PER_WORD = 0.4
"""About 150 words a minute: tells where a result began when Speech gives its end only."""
SECONDS_PER_CHARACTER = 0.2
"""The same for languages that are written without spaces."""

_UNSPACED_LANGUAGES = frozenset({"ja", "cmn", "zh", "yue", "th", "lo", "km", "my"})
_WORD_BOUNDARY = "\u2581"
"""SentencePiece's mark, which some models leave in front of words."""
_LABELS: dict[str, Speaker] = {"1": "speaker_1", "2": "speaker_2", "3": "speaker_3", "4": "speaker_4"}


@dataclass(frozen=True)
class Piece:
    """Something one speaker said; times in seconds from the start of the recording."""

    speaker: Speaker
    start_s: float
    end_s: float
    text: str


def turns_of(results: Sequence[SpeechResult], job: SpeechJob) -> tuple[Turn, ...]:
    """All turns in the order of their start."""
    joiner = "" if job.language_codes[0].split("-")[0] in _UNSPACED_LANGUAGES else " "
    pieces: Iterable[Piece] = _pieces(results, job, joiner)
    if job.channels > 1:
        pieces = _stretches(pieces, joiner)
    in_order = sorted(pieces, key=lambda piece: piece.start_s)
    return tuple(
        Turn(speaker=turn.speaker, start_s=round(turn.start_s, 3), end_s=round(turn.end_s, 3), text=turn.text)
        for turn in _merged(in_order, gap_s=HOLD_S, joiner=joiner)
    )


def speaker_of_channel(channel: int, job: SpeechJob) -> Speaker:
    """Of two channels one is the agent's and the other the caller's; further ones keep their number."""
    if channel == job.agent_channel:
        return "agent"
    if job.channels == 2:
        return "caller" if channel in {1, 2} else "unknown"
    return _LABELS.get(str(channel), "unknown")


def _pieces(results: Sequence[SpeechResult], job: SpeechJob, joiner: str) -> Iterator[Piece]:
    """Words where they help, whole results where they do not. Results of a channel follow one another in time."""
    ends: dict[int, float] = {}
    for result in results:
        earliest_s = ends.get(result.channel_tag, 0.0)
        end_s = max(earliest_s, result.result_end_offset)
        ends[result.channel_tag] = end_s
        start_s = max(earliest_s, end_s - _speaking_time_s(result.best.transcript, joiner))
        yield from _pieces_of_result(result, job, start_s=start_s, end_s=end_s)


def _speaking_time_s(text: str, joiner: str) -> float:
    return len(text.split()) * SECONDS_PER_WORD if joiner else len(text) * SECONDS_PER_CHARACTER


def _pieces_of_result(result: SpeechResult, job: SpeechJob, *, start_s: float, end_s: float) -> Iterator[Piece]:
    words = [word for word in result.best.words if _clean(word.word)]
    has_times = any(word.end_offset > 0 for word in words)
    speaker_of = _speaker_of_word(result, job)
    if has_times or any(word.speaker_label for word in words):
        timed = words if has_times else _spread(words, start_s=start_s, end_s=end_s)
        for word in timed:
            begin = word.start_offset
            yield Piece(speaker_of(word), begin, max(begin, word.end_offset), _clean(word.word))
        return
    text = result.best.transcript.strip()
    if text:
        yield Piece(speaker_of(SpokenWord()), start_s, end_s, text)


def _speaker_of_word(result: SpeechResult, job: SpeechJob) -> Callable[[SpokenWord], Speaker]:
    if job.channels > 1:
        speaker = speaker_of_channel(result.channel_tag, job)
        return lambda _word: speaker
    return lambda word: _LABELS.get(word.speaker_label, "unknown")


def _spread(words: Sequence[SpokenWord], *, start_s: float, end_s: float) -> Iterator[SpokenWord]:
    """Words without times, spread evenly over their result: their order and speakers are what counts."""
    step = (end_s - start_s) / len(words)
    for index, word in enumerate(words):
        begin = start_s + index * step
        yield word.model_copy(update={"start_offset": begin, "end_offset": begin + step})


def _stretches(pieces: Iterable[Piece], joiner: str) -> Iterator[Piece]:
    """Each speaker's pieces, joined where no pause lies between them."""
    by_speaker = sorted(pieces, key=lambda piece: (piece.speaker, piece.start_s))
    for _, own in groupby(by_speaker, key=lambda piece: piece.speaker):
        yield from _merged(list(own), gap_s=PAUSE_S, joiner=joiner)


def _merged(pieces: Sequence[Piece], *, gap_s: float, joiner: str) -> Iterator[Piece]:
    """Neighbours of the same speaker become one when less than `gap_s` lies between them."""
    group = list(pieces[:1])
    for before, piece in pairwise(pieces):
        if piece.speaker != before.speaker or piece.start_s - before.end_s >= gap_s:
            yield _joined(group, joiner)
            group = []
        group.append(piece)
    if group:
        yield _joined(group, joiner)


def _joined(group: Sequence[Piece], joiner: str) -> Piece:
    return Piece(
        group[0].speaker,
        group[0].start_s,
        max(piece.end_s for piece in group),
        joiner.join(piece.text for piece in group),
    )


def _clean(word: str) -> str:
    return word.replace(_WORD_BOUNDARY, " ").strip()
