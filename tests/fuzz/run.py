"""`make fuzz`: every target for its share of a time budget, the inputs counted, and how to repeat a fault."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.local.stack import DEFAULT_STATE_DIR
from tests.fuzz import incoming, models, vendors
from tests.fuzz.campaign import Result, repeat, run
from tests.fuzz.target import Target

TARGETS = (*incoming.TARGETS, *models.TARGETS, *vendors.TARGETS)
DEFAULT_BUDGET_S = 120.0
_SAY_EVERY_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every promise held, 1 after a fault, 2 for a wrong argument."""
    options = _options(arguments)
    with ExitStack() as stack:
        targets = {target.name: target for target in (*TARGETS, *stack.enter_context(_services(options)))}
        if options.repeat:
            repeat(tuple(targets.values()), options.repeat)
            _out(f"{options.repeat}: every promise holds now")
            return 0
        chosen = [targets[name] for name in options.target or targets]
        seed = secrets.randbelow(2**32) if options.seed is None else options.seed
        _out(f"{len(chosen)} targets, {options.budget:g} s in all, seed {seed}")
        share_s = options.budget / len(chosen)
        say = _Progress()
        results = [run(one, budget_s=share_s, seed=seed, folder=options.save, say=say) for one in chosen]
    _report(results)
    return 1 if any(result.fault for result in results) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--budget", type=float, default=DEFAULT_BUDGET_S, help="seconds in all, shared evenly")
    parser.add_argument("--target", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--seed", type=int, help="of the first round; printed at the start of every run")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="try one saved input again")
    parser.add_argument("--save", type=Path, default=DEFAULT_STATE_DIR / "fuzz", help="where faults are written down")
    parser.add_argument("--no-services", action="store_true", help="leave out what needs the local stack")
    options = parser.parse_args(arguments)
    known = {target.name for target in TARGETS} | set(_service_targets())
    if unknown := sorted(set(options.target or ()) - known):
        parser.error(f"no such target: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    if options.budget <= 0:
        parser.error("--budget must be more than 0")
    return options


def _service_targets() -> tuple[str, ...]:
    from tests.fuzz.services import NAMES

    return NAMES


@contextmanager
def _services(options: argparse.Namespace) -> Iterator[tuple[Target, ...]]:
    """The running services as targets, when one of them was asked for: starting the stack takes half a minute."""
    from tests.fuzz.services import NAMES, on_local_stack

    saved = options.repeat.name.rpartition("-")[0] if options.repeat else ""
    wanted = set(NAMES) if not options.target and not options.repeat else {*(options.target or ()), saved} & set(NAMES)
    if options.no_services or not wanted:
        yield ()
        return
    _out("starting the local stack")
    with on_local_stack() as targets:
        yield targets


class _Progress:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SAY_EVERY_S

    def __call__(self, line: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SAY_EVERY_S
            _out(f"  {line}")


def _report(results: Sequence[Result]) -> None:
    _out(f"{'target':<20}{'inputs':>10}{'seconds':>9}  result")
    for result in results:
        _out(f"{result.target:<20}{result.inputs:>10,}{result.seconds:>9.1f}  {result.fault or 'held'}")
        if result.saved:
            _out(f'{"":20}repeat it: make fuzz ARGS="--repeat {result.saved}"')
    faults = sum(1 for result in results if result.fault)
    _out(f"{sum(result.inputs for result in results):,} inputs, {faults} of {len(results)} targets with a fault")


def _out(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
