"""The `pipeline` command as a person runs it, in this process: the same entry point, output and exit status."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from handlers.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a finished command left."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        """Standard output as the one JSON document that `--json` promises."""
        assert self.status == 0, self.err
        return json.loads(self.out)


def pipeline(*arguments: str) -> Ran:
    """Run `pipeline ARGUMENTS…` with this process's environment."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with patch.object(sys, "argv", ["pipeline", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    return Ran(int(status or 0), out.getvalue(), err.getvalue())
