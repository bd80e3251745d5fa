"""`make secrets`: looks for keys and tokens in every tracked file; what is none stands in a list, with the reason.

Exit status 1 for a finding that is not on the list, and for an entry of the list that is found no more.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
KNOWN = Path(__file__).with_name("known_secrets.txt")
_KINDS = Path(__file__).with_name("secret_kinds.py")
_PLUGINS = (
    *("PrivateKeyDetector", "JwtTokenDetector", "BasicAuthDetector", "AWSKeyDetector", "GitHubTokenDetector"),
    *("SlackDetector", "StripeDetector", "NpmDetector", "PypiTokenDetector", "KeywordDetector"),
)
_OURS = ("HubSpotToken", "SalesforceConsumer", "GoogleCredential", "TinkKeyset")
_ENTROPY = ({"name": "HexHighEntropyString", "limit": 3.0}, {"name": "Base64HighEntropyString", "limit": 4.5})
"""CallRail's keys and Salesforce's secrets are hexadecimal digits without a mark: only their disorder tells."""
_NOT_TEXT = {".mp3", ".wav", ".ogg", ".png"}
_LOCKS = {"requirements.txt", "requirements-dev.txt", "requirements-setup.txt"}
"""Hashes from end to end; what they may hold is tested in tests/architecture/test_layout.py."""


@dataclass(frozen=True, order=True)
class Found:
    """One finding; `digest` is the SHA-1 of the value, which itself is not repeated."""

    file: str
    kind: str
    digest: str
    line: int = 0

    @property
    def key(self) -> str:
        return f"{self.file} | {self.kind} | {self.digest[:16]}"


def scan(paths: Iterable[Path], *, root: Path) -> list[Found]:
    """Everything that looks like a secret in these files."""
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import get_settings, transient_settings

    plugins = [
        *({"name": name} for name in _PLUGINS),
        *({"name": name, "path": f"file://{_KINDS}"} for name in _OURS),
        *_ENTROPY,
    ]
    collection = SecretsCollection(root=str(root))
    with transient_settings({"plugins_used": plugins}):
        # HubSpot's tokens hold one, and would be passed over.
        get_settings().disable_filters("detect_secrets.filters.heuristic.is_potential_uuid")
        for path in paths:
            collection.scan_file(path.relative_to(root).as_posix())
    return sorted(Found(file, secret.type, secret.secret_hash, secret.line_number) for file, secret in collection)


def tracked() -> Iterator[Path]:
    """The files of the project as git knows them, without sound, pictures and locks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in _NOT_TEXT and name not in {*_LOCKS, _name(KNOWN)}:
            yield path


def known() -> dict[str, str]:
    """Finding → why it is none."""
    lines = [line for line in KNOWN.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.rsplit(" | ", 1) for line in lines)


def main() -> int:
    """Print what is new and what is gone."""
    found, accepted = scan(tracked(), root=ROOT), known()
    new = [item for item in found if item.key not in accepted]
    gone = sorted(accepted.keys() - {item.key for item in found})
    for item in new:
        sys.stdout.write(f"{item.file}:{item.line}: {item.kind}; if it is none: {item.key} | WHY\n")
    for key in gone:
        sys.stdout.write(f"{_name(KNOWN)}: found no more, take it out: {key}\n")
    sys.stdout.write(f"{len(found)} findings, {len(new)} not accounted for\n")
    return 1 if new or gone else 0


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    sys.exit(main())
