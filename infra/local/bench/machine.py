"""The machine that the figures belong to; without it no figure means anything."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """`load_before` is the load average of the last minute: above zero, others were at work too."""

    cores: int
    cpu: str
    memory_gib: float
    system: str
    python: str
    date: str
    load_before: float


def this_machine() -> Machine:
    """What we run on, now."""
    import psutil

    return Machine(
        cores=os.cpu_count() or 0,
        cpu=cpu_model(_CPUINFO.read_text(encoding="utf-8") if _CPUINFO.is_file() else ""),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        load_before=round(os.getloadavg()[0], 2),
    )


def cpu_model(cpuinfo: str) -> str:
    """The first model name of /proc/cpuinfo; other systems say what Python knows."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
