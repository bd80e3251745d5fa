"""From the methods of Google's that a gateway calls to the role that its service holds: too little and too much fail.

By gateway, not by service: `download` is given what the whole of `objects` needs. That the grants are these roles:
`test_infra.py`. Spanner's are the database's own (`test_grants.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.architecture.vendor_calls import GATEWAYS, calls_of
from tests.architecture.wiring_roles import ROLE_OF_GATEWAY

ROLES: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "role_permissions.json").read_text(encoding="utf-8")
)["roles"]


@dataclass(frozen=True)
class Calls:
    """`needs`: method → permission, of what services call; `others`: method → who else calls it, with which right."""

    files: tuple[str, ...]
    needs: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)


_RECORDINGS = {
    "exists": "storage.objects.get",
    "reload": "storage.objects.get",
    "download_as_bytes": "storage.objects.get",
    "upload_from_file": "storage.objects.create",
    "delete": "storage.objects.delete",
    "list_blobs": "storage.objects.list",
}
_NOT_THE_RECEIVER = "the receiver puts a small object into the inbox in one request, and looks at none"
CALLS = {
    "secrets": Calls(
        ("secrets.py",),
        {"access_secret_version": "secretmanager.versions.access"},
        dict.fromkeys(("create_secret", "add_secret_version"), "whoever onboards a tenant, at the command line"),
    ),
    "vault": Calls(
        ("kms.py",),
        {"decrypt": "cloudkms.cryptoKeyVersions.useToDecrypt"},
        {"encrypt": "the job rotate-keys and whoever onboards a tenant"},
    ),
    "objects": Calls(
        ("objects.py", "kept_objects.py"),
        {
            **_RECORDINGS,
            "patch": "storage.objects.update",
            "rewrite": "storage.objects.create",
        },
    ),
    "receiver_objects": Calls(
        ("objects.py",),
        {"upload_from_file": "storage.objects.create"},
        {name: _NOT_THE_RECEIVER for name in _RECORDINGS if name != "upload_from_file"},
    ),
    "publisher_of": Calls(
        ("publisher.py",),
        {"publish": "pubsub.topics.publish"},
        {"get_topic": "the receiver's health page, by roles/pubsub.viewer on that topic"},
    ),
    "speech_recognizer": Calls(
        ("speech.py", "speech_operations.py"),
        {
            "batch_recognize": "speech.recognizers.recognize",
            "get_operation": "speech.operations.get",
            "list_operations": "speech.operations.list",
        },
    ),
    "GeminiModel": Calls(("gemini.py",), {"generate_content": "aiplatform.endpoints.predict"}),
}
"""By the name that the wiring gives a gateway."""

PEOPLES = {"dead_letter_archive.py"}
"""Used at the command line only, with the rights of the person who types."""


def test_every_gateway_with_a_role_is_looked_at() -> None:
    assert set(CALLS) == set(ROLE_OF_GATEWAY) - {"database"}


@pytest.mark.parametrize("gateway", CALLS)
def test_a_gateway_calls_what_the_table_says(gateway: str) -> None:
    calls = CALLS[gateway]

    assert calls_of(calls.files) == set(calls.needs) | set(calls.others)


@pytest.mark.parametrize("gateway", CALLS)
def test_its_role_is_enough_and_no_smaller_one_is(gateway: str) -> None:
    needed, role = set(CALLS[gateway].needs.values()), ROLE_OF_GATEWAY[gateway]

    assert needed <= set(ROLES[role])
    enough = [name for name, permissions in ROLES.items() if needed <= set(permissions)]
    assert min(enough, key=lambda name: len(ROLES[name])) == role


def test_no_other_gateway_calls_google_on_a_services_behalf() -> None:
    """A new gateway, or a call in a file that had none, has to get its row."""
    known = {file for calls in CALLS.values() for file in calls.files} | PEOPLES
    calling = {
        path.name
        for path in GATEWAYS.glob("*.py")
        if re.search(r"google\.cloud(?!\.spanner| import spanner)", path.read_text(encoding="utf-8"))
        and calls_of([path.name])
    }

    assert calling - known == set()
