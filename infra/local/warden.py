"""Makes sure that nothing of a local stack outlives its supervisor, even one that was killed with SIGKILL.

The supervisor starts this program as the leader of a process group, puts every other process into that group and
keeps the other end of the warden's standard input open. The kernel closes that end when the supervisor ends, however
it ends; the warden then kills the whole group, itself included. Unlike PR_SET_PDEATHSIG this reaches grandchildren
(gunicorn's workers), works on macOS and does not depend on which thread started a child.

Run directly with `python -I -S`: it must start fast and needs nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
