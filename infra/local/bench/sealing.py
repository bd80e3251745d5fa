"""What sealing personal data costs: `python -m infra.local.bench.sealing` prints microseconds for each operation.

Real Tink keysets of a tenant, no database and no Cloud KMS: those are asked once in ten minutes (see the vault).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from shared.gateways.keysets import new_keyset, primitive
from shared.gateways.tenant_keys import Place, TenantKeys

ROUNDS = 5
_PLACE = Place("acme-plumbing", "CAL0000000000000000000000000000000a", "transcript")
_NUMBER = "+13035550142"


def measure(*, repetitions: int) -> dict[str, float]:
    """Microseconds for one operation each: the best of `ROUNDS`, because a busy machine only ever adds."""
    keys = TenantKeys(primitive(new_keyset("data"), "data"), primitive(new_keyset("lookup"), "lookup"), version=1)
    figures = {"hash a number": _best_us(partial(keys.phone_hash, _NUMBER), repetitions)}
    for name, size in (("1.5 kB", 1_500), ("60 kB", 60_000)):
        text = "x" * size
        sealed = keys.seal(_PLACE, text)
        figures[f"seal {name}"] = _best_us(partial(keys.seal, _PLACE, text), repetitions)
        figures[f"open {name}"] = _best_us(partial(keys.open, _PLACE, sealed), repetitions)
    return figures


def _best_us(work: Callable[[], object], repetitions: int) -> float:
    def once() -> float:
        began = time.perf_counter()
        for _ in range(repetitions):
            work()
        return (time.perf_counter() - began) / repetitions * 1e6

    return min(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    for operation, us in measure(repetitions=2_000).items():
        sys.stdout.write(f"{operation:14} {us:8.1f} µs\n")
