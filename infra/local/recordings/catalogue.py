"""The sample calls of the demo: each script with its recording and the webhook CallRail would send for it."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.local.recordings.payload import post_call_payload
from infra.local.recordings.script import Script

FOLDER = Path(__file__).parent
SCRIPTS = FOLDER / "scripts"
AUDIO = FOLDER / "audio"


class SampleCall(BaseModel):
    """One sample call, ready to be played to the pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: Script
    audio_path: Path | None
    """The committed MP3; None when the call was not recorded."""

    def webhook_payload(
        self, *, call_id: str, company_id: str, started_at: datetime, recording_url: str
    ) -> dict[str, Any]:
        """CallRail's post-call JSON. `company_id` is the `COM…` id; `recording_url` is left out of unrecorded calls."""
        return post_call_payload(
            self.script,
            call_id=call_id,
            company_id=company_id,
            started_at=started_at,
            recording_url=recording_url if self.audio_path else "",
        )


def load_catalogue() -> tuple[SampleCall, ...]:
    """All sample calls in the order of their files' names. Raises ValueError when a script breaks its form."""
    return tuple(_sample(path) for path in sorted(SCRIPTS.glob("*.toml")))


def audio_path(script: Script) -> Path | None:
    """Where the call's MP3 belongs, whether or not it has been made yet."""
    return AUDIO / f"{script.id}.mp3" if script.channels else None


def _sample(path: Path) -> SampleCall:
    script = Script.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    return SampleCall(script=script, audio_path=audio_path(script))
