"""The key-encryption key of a laptop: a Tink keyset in a file, in the place of Cloud KMS."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError


def make_key_file(path: Path) -> None:
    """Write a fresh key, readable by its owner only. A file that is there stays, whoever wrote it first."""
    if path.exists():
        return
    import tink
    from tink import aead, json_proto_keyset_format, secret_key_access

    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".pii-key-") as file:  # mkstemp's mode: 0600
        file.write(json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN))
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return


def local_key(path: str) -> Callable[[], Any]:
    """A function that reads the file at its first call. Raises `ConfigurationError` when there is no key in it."""

    @cache
    def read() -> Any:
        import tink
        from tink import aead, json_proto_keyset_format, secret_key_access

        aead.register()
        try:
            text = Path(path).read_text(encoding="utf-8")
            return json_proto_keyset_format.parse(text, secret_key_access.TOKEN).primitive(aead.Aead)
        except (OSError, tink.TinkError) as error:
            raise ConfigurationError(
                "local_key_unreadable",
                f"PIPELINE_LOCAL_PII_KEY_FILE={path} holds no key",
                fix="`pipeline local up` makes one",
            ) from error

    return read
