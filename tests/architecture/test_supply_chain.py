"""What is planted is found, what the image is made of is listed, and an audit that could not look says so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from infra.supply.audit import look, weaknesses
from infra.supply.sbom import ROOT, check, write
from infra.supply.secrets import known, scan

HEX = "9f2b7c4de8a1035b6c7d9e0f1a2b3c4d"
"""Disorderly enough, and opens nothing."""
PLANTED = {
    "HubSpot token": "-".join(("pat", "na1", "9f2b7c4d", "e8a1", "035b", "6c7d", "9e0f1a2b3c4d")),
    "Salesforce key": "3MVG9" + "kq.Zx81_" * 8,
    "Google credential": "AIza" + "Sy" + "dK3_x-9qLw" * 3 + "abc",
    "Tink keyset": '"keyMaterialType": ' + '"SYMMETRIC"',
    "Private Key": "-----BEGIN " + "PRIVATE KEY-----",
    "JSON Web Token": ".".join(("eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "c2lnbmF0dXJlLWhlcmU")),
    "Hex High Entropy String": f'CALLRAIL = "{HEX}"',
    "Secret Keyword": 'webhook_secret = "' + "Tr0ub4dor-and-3" + '"',
    "Basic Auth Credentials": "https://user:" + "hunter2secret" + "@example.com/",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_secret_that_is_committed_by_mistake_is_found(kind: str, tmp_path: Path) -> None:
    planted = tmp_path / "settings.py"
    planted.write_text(f"# nothing here\nvalue = 1\n{PLANTED[kind]}\n", encoding="utf-8")

    found = scan([planted], root=tmp_path)

    assert kind in {item.kind for item in found}
    assert PLANTED[kind] not in repr(found)


def test_an_ordinary_file_holds_none(tmp_path: Path) -> None:
    plain = tmp_path / "plain.py"
    plain.write_text('"""Reads secrets by name."""\n\nretries = 3\nname = "acme-webhook-secret"\n', encoding="utf-8")
    assert scan([plain], root=tmp_path) == []


def test_every_exception_has_a_reason_and_a_file() -> None:
    for key, why in known().items():
        file, _kind, digest = key.split(" | ")
        assert (ROOT / file).exists(), key
        assert re.fullmatch(r"[0-9a-f]{16}", digest), key
        assert len(why) > 10, key


def test_the_bill_of_materials_is_valid_and_lists_every_pin_with_its_hashes(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    write(path)

    document = json.loads(path.read_text(encoding="utf-8"))
    listed = {(item["name"].lower(), item.get("version")): item for item in document["components"]}
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;]+)", lock, re.MULTILINE)
    assert len(pins) > 50
    assert [pin for pin in pins if pin not in listed] == []
    assert [name for (name, _), item in listed.items() if not json.dumps(item).count("SHA-256")] == []


def test_a_document_against_the_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="no valid CycloneDX"):
        check('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": 7}')


def test_a_weakness_is_a_line_that_says_what_mends_it() -> None:
    package = {"name": "flask", "version": "0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"]}]}
    assert weaknesses({"dependencies": [package]}) == ["flask 0.1: PYSEC-1, mended in 3.1"]


def test_an_audit_that_reaches_nobody_says_that_it_could_not_look(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"flask==3.1.0 \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8")

    found, why_not = look(lock, extra=("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/"))

    assert found is None
    assert why_not


def test_ci_looks_for_secrets_and_the_build_audits() -> None:
    assert "make secrets" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make audit" in (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
