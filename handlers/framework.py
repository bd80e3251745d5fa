"""What functions-framework does by itself and our services must undo."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from flask import Request, Response


def without_rereading(request: Request, view: Callable[[Request], Response]) -> Response:
    """Answer by `view`, and leave nothing of the body for functions-framework.

    It reads the body once more after every answer, without any bound: an unwanted body of any size would end up in
    memory, and one over our own limit would turn its 413 into a 500.
    """
    try:
        return view(request)
    finally:
        request.stream = BytesIO()
