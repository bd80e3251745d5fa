"""The whole error vocabulary: each class tells the runner what to do next (design §4).

Every error carries a stable `code` (snake_case, for grouping and alerts), a `detail` for people that
never contains personal data or secrets, and, where a person can mend it, a `fix` that says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.log_hygiene import mask


class PipelineError(Exception):
    """Base of everything the runner understands."""

    def __init__(self, code: str, detail: str, *, fix: str = "") -> None:
        detail = mask(detail)  # vendors repeat what they were sent
        super().__init__(f"{code}: {detail}" + (f" ({fix})" if fix else ""))
        self.code = code
        self.detail = detail
        self.fix = fix


class InvalidEvent(PipelineError):
    """The message is unreadable or against its schema: dead letter, acknowledged."""


class PermanentFailure(PipelineError):
    """The outside said a final no: dead letter, acknowledged, no attempts wasted."""


class TenantBlocked(PipelineError):
    """Credentials or settings of this tenant need a person; `fix` says what to change.

    No fault of ours, so no dead letter: the run waits in the blocked lane and goes on by itself once it is mended.
    `vendor` names whose refusal it was; `retry_at` is when to look again, None for the runner's own pace.
    """

    def __init__(
        self, code: str, detail: str, *, fix: str = "", vendor: str = "", retry_at: datetime | None = None
    ) -> None:
        super().__init__(code, detail, fix=fix)
        self.vendor = vendor
        self.retry_at = retry_at


class TransientFailure(PipelineError):
    """Time-out, throttling, 5xx: answered 503, Pub/Sub backs off.

    `retry_after_s` is the vendor's own hint in seconds, when it gave one.
    """

    def __init__(self, code: str, detail: str, *, fix: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(code, detail, fix=fix)
        self.retry_after_s = retry_after_s


class OutOfCapacity(TransientFailure):
    """A service that all tenants share has no capacity now: the stage sleeps for it (`shared/capacity.py`)."""


class Throttled(TransientFailure):
    """The tenant's own limit at a vendor is reached for the moment; again and again, it opens the circuit."""


class NotReady(PipelineError):
    """Not there yet, worth a look in seconds: answered 503."""


class Deferred(PipelineError):
    """Wait longer than a back-off: the row keeps the event until `until`, the message is acknowledged."""

    def __init__(self, code: str, detail: str, *, until: datetime, fix: str = "", vendor: str = "") -> None:
        super().__init__(code, detail, fix=fix)
        self.until = until
        self.vendor = vendor


class Waiting(Exception):
    """Not an error: an outside job was started and its own event will continue this stage.

    `checkpoint` names the job, so that nobody pays for it twice; it is stored in the same commit that puts the
    row to sleep. The sweeper looks after the job when nothing was heard by `until`.
    """

    def __init__(self, *, checkpoint: Mapping[str, Any], until: datetime) -> None:
        super().__init__("waiting for an outside job")
        self.checkpoint = checkpoint
        self.until = until


class ConfigurationError(PipelineError):
    """A setting, argument or file given by an operator is wrong; raised at start-up or by the CLI."""


class StoreConflict(Exception):
    """A conditional write found the row changed by somebody else; the caller reads again and decides."""


class AlreadyThere(StoreConflict):
    """An insert found its key taken: on a redelivery, the sign that the work was done before."""
