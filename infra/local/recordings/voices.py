"""Text to speech with Debian's flite: small, free to redistribute, and the same bytes on every run."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

TELEPHONE_HZ = 8000
SPEECH_LEVEL = 0.12
"""RMS of a turn as a share of full scale: about -18 dBFS, so that no voice is louder than the other."""


class SpeechProgramMissing(RuntimeError):
    """flite is not on this machine."""


def speak(text: str, *, voice: str) -> Samples:
    """The text as 8 kHz mono speech without silence at its ends. Raises SpeechProgramMissing."""
    program = shutil.which("flite")
    if program is None:
        raise SpeechProgramMissing("flite is not installed: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "turn.wav"
        subprocess.run([program, "-voice", voice, "-t", text, "-o", str(wav)], check=True, timeout=60)
        return _level(_trim(decode(wav, rate_hz=TELEPHONE_HZ)[0]))


def decode(path: Path, *, rate_hz: int) -> Samples:
    """An audio file as samples, one row for each channel, at `rate_hz`."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16p", rate=rate_hz)
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def _trim(samples: Samples) -> Samples:
    """Pauses come from the script, so the synthesiser's own go."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 200)  # about 0.6% of full scale: above its noise
    return samples[loud[0] : loud[-1] + 1]


def _level(samples: Samples) -> Samples:
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    levelled: Samples = np.clip(samples * (SPEECH_LEVEL * 32767 / rms), -32768, 32767).astype(np.int16)
    return levelled
