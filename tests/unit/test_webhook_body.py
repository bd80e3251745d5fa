"""Reading a webhook body: two content types, CallRail's odd ways of writing, and nothing but one error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.webhook_body import FORM_TYPE, JSON_TYPE, MAX_DEPTH, MAX_FIELDS, UnreadableBody, read_body
from schemas.events import CallReceived

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def event_with(payload: dict[str, Any]) -> CallReceived:
    return CallReceived(
        tenant_id="acme-plumbing",
        request_id="w-0123456789",
        call_id="CAL1",
        kind="unknown",
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
        payload=payload,
    )


def test_a_json_object_is_read_as_it_is() -> None:
    body = b' { "duration" : "214" , "tags" : [ "new customer" ] , "name" : "Ren\\u00e9e" } '
    assert read_body(body, JSON_TYPE) == {"duration": "214", "tags": ["new customer"], "name": "Renée"}


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read_body(b'\xef\xbb\xbf{"a": 1}', JSON_TYPE) == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [b"", b"nothing", b"[]", b'"text"', b"null", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":"\xe9"}', b"{" * 5000],
)
def test_what_is_not_a_json_object_is_refused_without_showing_it(body: bytes) -> None:
    with pytest.raises(UnreadableBody, match=r"^the body is not (JSON|a JSON object)$"):
        read_body(body, JSON_TYPE)


def test_half_an_emoji_is_replaced_and_the_call_is_kept() -> None:
    """A text cut inside a surrogate pair is JSON, but as UTF-8 it cannot be written: it must not cost the call."""
    body = read_body(b'{"note": "thanks \\ud83d", "whole": "\\ud83d\\ude00"}', JSON_TYPE)
    assert body == {"note": "thanks ?", "whole": "😀"}
    assert CallReceived.model_validate_json(event_with(body).model_dump_json()).payload == body


def test_a_body_nested_deeper_than_an_event_can_hold_is_refused() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    read_body(nested(MAX_DEPTH), JSON_TYPE)
    with pytest.raises(UnreadableBody):
        read_body(nested(MAX_DEPTH + 1), JSON_TYPE)


def test_mistake_10_a_form_body_is_read() -> None:
    body = b"resource_id=CAL1&duration=214&customer_name=Acme+%26+Sons&value="
    assert read_body(body, FORM_TYPE) == {
        "resource_id": "CAL1",
        "duration": "214",
        "customer_name": "Acme & Sons",
        "value": "",
    }


@pytest.mark.parametrize(
    "written",
    ["tags=%5B%22a%22%2C%22b%22%5D", "tags[]=a&tags[]=b", "tags%5B%5D=a&tags%5B%5D=b"],
    ids=["json in a value", "brackets", "encoded brackets"],
)
def test_a_list_in_a_form_is_read_however_it_is_written(written: str) -> None:
    assert read_body(written.encode(), FORM_TYPE) == {"tags": ["a", "b"]}


@pytest.mark.parametrize(
    "written", ["form_data[name]=Ann&form_data[zip]=80202", 'form_data={"name":"Ann","zip":"80202"}']
)
def test_an_object_in_a_form_is_read_however_it_is_written(written: str) -> None:
    assert read_body(written.encode(), FORM_TYPE) == {"form_data": {"name": "Ann", "zip": "80202"}}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a[b][c]=1", {"a[b][c]": "1"}),
        ("a=1&a[]=2", {"a": "1"}),
        ("a=1&a[b]=2", {"a": "1"}),
        ("note=[not json", {"note": "[not json"}),
        ("note={NaN}", {"note": "{NaN}"}),
        ("a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a&b=2", {"a": "", "b": "2"}),
        ("name=Ren%E9e", {"name": "Ren�e"}),
        ("", {}),
    ],
)
def test_a_form_of_unknown_shape_costs_no_call(written: str, read: dict[str, Any]) -> None:
    assert read_body(written.encode(), FORM_TYPE) == read


def test_a_form_with_absurdly_many_fields_is_refused() -> None:
    read_body(b"&".join([b"a=1"] * MAX_FIELDS), FORM_TYPE)
    with pytest.raises(UnreadableBody, match="fields"):
        read_body(b"&".join([b"a=1"] * (MAX_FIELDS + 1)), FORM_TYPE)


@given(st.dictionaries(st.text(), st.text(), max_size=8).map(lambda fields: (fields, urlencode(fields))))
def test_a_form_without_brackets_comes_back_as_it_was_sent(sent: tuple[dict[str, str], str]) -> None:
    fields, body = sent
    plain = {name: value for name, value in fields.items() if "[" not in name and not value.startswith(("[", "{"))}
    read = read_body(body.encode(), FORM_TYPE)
    assert {name: read.get(name) for name in plain} == plain


@given(st.binary(max_size=200), st.sampled_from([JSON_TYPE, FORM_TYPE]))
def test_any_bytes_are_read_or_refused_with_one_error(raw: bytes, content_type: str) -> None:
    try:
        document = read_body(raw, content_type)
    except UnreadableBody:
        return
    event_with(document).model_dump_json()


@given(st.dictionaries(st.text(st.characters()), VALUES, max_size=6))
def test_whatever_is_read_can_be_written_into_an_event(document: dict[str, Any]) -> None:
    raw = json.dumps(document).encode()
    try:
        read = read_body(raw, JSON_TYPE)
    except UnreadableBody:
        assert b"NaN" in raw or b"Infinity" in raw
        return
    event_with(read).model_dump_json()


# -- one meaning only ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"company_resource_id":"COM1","company_resource_id":"COM2"}',
        b'{"tenant_id":"a","tenant_id":"a"}',
        b'{"company_resource_id":"COM1","company\\u005fresource_id":"COM2"}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        '{"resource_id":"CAL1"}'.encode("utf-16"),
        '{"resource_id":"CAL1"}'.encode("utf-32"),
        b'{"resource_id":"CAL1"}{"resource_id":"CAL2"}',
        b'{"resource_id":"CAL1"}\x00',
        b'{"resource_id":"CAL1",}',
        b"{'resource_id':'CAL1'}",
        b'{"resource_id":"CAL1"/**/}',
        b'{"duration":NaN}',
        b'{"resource_id":"CAL\xff"}',
        b'{"resource_id":"CAL\xc0\xaf"}',
        b"resource_id=CAL1",
    ],
)
def test_a_json_body_that_parsers_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        read_body(body, JSON_TYPE)


@pytest.mark.parametrize(
    "body",
    [
        b"company_resource_id=COM1&company_resource_id=COM2",
        b"tenant_id=a&tenant_id=b",
        b"company_id=1&company%5Fid=2",
        b"resource_id=CAL1&resource_id=CAL2",
        b"id=1&x=y&id=%32",
    ],
)
def test_a_form_that_names_two_owners_or_calls_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        read_body(body, FORM_TYPE)


def test_a_form_that_repeats_itself_or_another_field_costs_no_call() -> None:
    assert read_body(b"id=1&id=1&note=a&note=b", FORM_TYPE) == {"id": "1", "note": "b"}


def test_an_id_in_a_form_is_never_opened_as_json() -> None:
    assert read_body(b'company_id=["1","2"]', FORM_TYPE) == {"company_id": '["1","2"]'}


def test_a_semicolon_separates_nothing() -> None:
    assert read_body(b"company_id=1;company_id=2", FORM_TYPE) == {"company_id": "1;company_id=2"}
