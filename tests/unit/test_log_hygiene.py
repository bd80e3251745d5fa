"""What looks like a person or a credential does not get into a log line, and what operators need does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.errors import PermanentFailure, TransientFailure
from shared.log_hygiene import MASKED, REFUSED, keep_personal_data_out, mask, without_messages

MUST_GO = [
    "+13035550142",
    "303-555-0142",
    "(303) 555-0142",
    "303.555.0142",
    "1 303 555 0142",
    "3035550142",
    "+44 20 7946 0958",
    "4111 1111 1111 1111",
    "4111111111111111",
    "4111-1111-1111-1111",
    "378282246310005",
    "078-05-1120",
    "078 05 1120",
    "000123456789",
    "marjorie.quillfeather@example.com",
    "Bearer abcdef0123456789",
    "pat-na1-0000-1111-2222",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "access_key=0000000000000000aaaa",
    "api_key: s3cr3t-v4lu3",
]
MAY_STAY = [
    "2026-11-23T12:00:00+00:00",
    "2026-11-23",
    "CAL019aa0c4d1f07b2e9c3d5a6f70819203",
    "r-0123456789abcdef0123456789abcdef",
    "r-01234567890123456789012345678901",
    "550e8400-e29b-41d4-a716-446655440000",
    "projects/123456789012/locations/us/operations/1234567890123456",
    "recordings/acme-plumbing/CAL0123456789.mp3",
    "larger than 500000000 bytes",
    "at most 1900000 characters",
    "worker@my-project.iam.gserviceaccount.com",
    "4xx and 5xx",
    "HTTP 503, attempt 12 of 20",
    "v1.23.4567",
]


@pytest.mark.parametrize("text", MUST_GO)
@pytest.mark.parametrize("frame", ["{}", "the caller said {}, twice", 'input: "{}"', "[{}]"])
def test_numbers_addresses_and_credentials_are_masked(text: str, frame: str) -> None:
    masked = mask(frame.format(text))

    assert text not in masked
    assert MASKED in masked


@pytest.mark.parametrize("text", MAY_STAY)
def test_ids_times_and_sizes_stay(text: str) -> None:
    assert mask(f"see {text}") == f"see {text}"


@given(st.from_regex(r"\+1[2-9][0-9]{9}", fullmatch=True), st.sampled_from([" ", ", ", '"', "(", ")", "\n", ": ", ""]))
def test_no_north_american_number_gets_through(number: str, around: str) -> None:
    assert number not in mask(f"{around}{number}{around}")
    assert number[2:] not in mask(f"{around}{number[2:]}{around}")


@given(st.text(max_size=300))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def clean(**fields: Any) -> dict[str, Any]:
    return dict(keep_personal_data_out(None, "info", {"event": "call_seen", **fields}))


CONTENT = (
    *(
        "transcript",
        "payload",
        "caller_name",
        "caller_number",
        "customer_name",
        "phone",
        "phone_number",
        "email",
        "body",
    ),
    *("summary", "token", "api_key", "authorization", "claim_secret", "note", "event_data"),
)


@pytest.mark.parametrize("field", CONTENT)
def test_fields_of_content_are_refused_by_their_name(field: str) -> None:
    assert clean(**{field: "Marjorie"})[field] == REFUSED
    assert clean(facts={field: {"deep": "Marjorie"}})["facts"][field] == REFUSED


def test_nested_values_and_foreign_objects_are_looked_into() -> None:
    class Shown:
        def __str__(self) -> str:
            return "Call(+13035550142)"

    seen = clean(facts={"list": ["+13035550142", {"x": ("a@example.com",)}]}, thing=Shown(), raw=b"+13035550142")

    assert "0142" not in json.dumps(seen)
    assert "example.com" not in json.dumps(seen)


def test_what_operators_need_is_left_alone() -> None:
    fields = {
        "tenant_id": "acme-plumbing",
        "message_id": "12345678901234567",
        "call_id": "CAL019aa0c4d1f07b2e9c3d5a6f70819203",
        "digest": "012345678901",
        "attempt": 3,
        "size_bytes": 12345678901,
        "is_done": True,
        "object_name": "recordings/acme/1234567890.mp3",
        "claim_token": "550e8400-e29b-41d4-a716-446655440000",
        "code": "storage_unavailable",
    }
    assert clean(**fields) == {"event": "call_seen", **fields}


# --- exceptions -----------------------------------------------------------------------------------------


WHO, NUMBER = "Marjorie", "+13035550142"
"""Named, because a traceback shows lines of code, and these may be shown."""


class Row(BaseModel):
    duration: int


def formatted(error: BaseException) -> str:
    line = structlog.processors.format_exc_info(None, "error", {"exc_info": error})
    return str(line["exception"])


def raised(act: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 # whatever it is
        act()
    return caught.value


def _fail_on_a_field() -> None:
    Row.model_validate({"duration": f"{WHO} said {NUMBER}"})


def _fail_with_several_lines() -> None:
    raise RuntimeError(f'row:\n    caller {WHO}\n  File "{WHO}"\n    {WHO}\n{WHO}: here\n  ^^^ {WHO}')


def _fail_because() -> None:
    try:
        raise KeyError(WHO)
    except KeyError as error:
        raise PermanentFailure("crm_refused", f"no such person: {NUMBER}") from error


@pytest.mark.parametrize("act", [_fail_on_a_field, _fail_with_several_lines, _fail_because])
def test_an_exception_keeps_its_place_and_type_and_loses_its_message(act: Any) -> None:
    error = raised(act)
    seen = without_messages(formatted(error))

    assert "Marjorie" not in seen
    assert "0142" not in seen
    assert act.__name__ in seen, "the frames are what an engineer needs"
    assert type(error).__name__ in seen


def test_our_own_errors_keep_their_words() -> None:
    seen = without_messages(formatted(raised(_fail_because)))

    assert f"PermanentFailure: crm_refused: no such person: {MASKED}" in seen
    assert "KeyError: [message withheld]" in seen


def test_an_errors_detail_is_masked_before_anybody_stores_it() -> None:
    error = TransientFailure("hubspot_500", "cannot update a@example.com, +13035550142")

    assert error.detail == f"cannot update {MASKED}, {MASKED}"
    assert "0142" not in str(error)


_LOGGING = """
import logging, structlog
from shared.logs import configure_logging
configure_logging(service="x", project_id="p", level="INFO")
structlog.get_logger().info("seen", detail="+13035550142", transcript="Marjorie")
logging.getLogger("some.library").warning("could not call %s", "+13035550142")
try:
    int("Marjorie")
except ValueError:
    logging.getLogger("another").exception("failed for a@example.com")
    structlog.get_logger().exception("failed")
"""


def test_every_road_into_the_log_is_guarded() -> None:
    """structlog's own lines, other libraries' by way of the standard library, and tracebacks of both."""
    done = subprocess.run([sys.executable, "-c", _LOGGING], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(lines) == 4
    for secret in ("Marjorie", "0142", "a@example.com"):
        assert secret not in done.stdout + done.stderr
    assert lines[1]["message"] == f"could not call {MASKED}"
    assert "ValueError" in lines[3]["exception"]
