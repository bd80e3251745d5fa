"""Make the MP3s of all sample calls from their scripts: `python -m infra.local.recordings.make`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

import av
import numpy as np

from infra.local.recordings.catalogue import AUDIO, load_catalogue
from infra.local.recordings.script import Script
from infra.local.recordings.voices import TELEPHONE_HZ, Samples, SpeechProgramMissing, speak

TELEPHONE_BAND = (("highpass", "f=250"), ("lowpass", "f=3400"))
"""What a telephone line lets through."""

BIT_RATE = {1: 16_000, 2: 32_000}
"""Bits per second by channels; MPEG-2.5 (8 kHz) offers steps of 8,000."""

TAIL_MS = 500
"""Silence after the last word, before somebody hangs up."""


def main() -> int:
    AUDIO.mkdir(exist_ok=True)
    for call in load_catalogue():
        if call.audio_path is None:
            continue
        try:
            sound = mix(call.script)
        except SpeechProgramMissing as missing:
            print(missing, file=sys.stderr)
            return 1
        encode(sound, path=call.audio_path, script=call.script)
        channels, samples = sound.shape
        size_kb = call.audio_path.stat().st_size / 1000
        print(f"{call.script.id:20} {samples / TELEPHONE_HZ:5.1f} s  {channels} ch  {size_kb:4.0f} kB")
    return 0


def mix(script: Script) -> Samples:
    """The whole call at 8 kHz, one row for each channel: agent first when there are two."""
    row_of = {"agent": 0, "caller": script.channels - 1}
    pieces = []
    for turn in script.turns:
        speech = speak(turn.text, voice=script.recording.voices[turn.speaker])
        piece = np.zeros((script.channels, _samples_in(turn.pause_ms) + len(speech)), dtype=np.int16)
        piece[row_of[turn.speaker], -len(speech) :] = speech
        pieces.append(piece)
    tail = np.zeros((script.channels, _samples_in(TAIL_MS)), dtype=np.int16)
    return np.concatenate([*pieces, tail], axis=1)


def encode(sound: Samples, *, path: Path, script: Script) -> None:
    """Write the telephone-band MP3, tagged with the script's digest; no date or program version goes in."""
    channels = len(sound)
    layout = "stereo" if channels == 2 else "mono"
    with av.open(str(path), "w", format="mp3", options={"fflags": "+bitexact"}) as container:
        container.metadata.update({"title": script.title, "comment": script.digest})
        stream = container.add_stream("libmp3lame", rate=TELEPHONE_HZ, layout=layout)
        stream.bit_rate = BIT_RATE[channels]
        # Joint stereo would let one speaker leak into the other's channel.
        stream.codec_context.options = {"joint_stereo": "0", "flags": "+bitexact"}
        for frame in _telephone_line(sound, layout=layout):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _telephone_line(sound: Samples, *, layout: str) -> list[av.AudioFrame]:
    """The sound after the telephone's band-pass, as frames the encoder takes."""
    source = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="s16p", layout=layout)
    source.sample_rate = TELEPHONE_HZ
    graph = av.filter.Graph()
    nodes = [graph.add_abuffer(sample_rate=TELEPHONE_HZ, format="s16p", layout=layout, time_base=source.time_base)]
    nodes += [graph.add(name, options) for name, options in TELEPHONE_BAND]
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    graph.push(source)
    graph.push(None)
    frames = []
    with suppress(av.EOFError):  # how the graph says that it is empty
        while True:
            frames.append(cast(av.AudioFrame, graph.pull()))
    return frames


def _samples_in(milliseconds: int) -> int:
    return milliseconds * TELEPHONE_HZ // 1000


if __name__ == "__main__":
    sys.exit(main())
