"""`python -m infra.openapi` writes docs/api/openapi.yaml."""

from __future__ import annotations

from infra.openapi.document import FILE, text

FILE.write_text(text(), encoding="utf-8")
