"""The faults of `make mutants` can still be put in: each has its place, is code, and names tests that exist."""

from __future__ import annotations

import ast

import pytest

from infra.local.plan import PROJECT_ROOT
from tests.mutants.faults import FAULTS, Fault
from tests.mutants.run import main, with_fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_its_place_and_stays_code(fault: Fault) -> None:
    sound = (PROJECT_ROOT / fault.file).read_text()
    ill = with_fault(fault, sound)
    if fault.file.endswith(".py"):
        assert ast.dump(ast.parse(ill)) != ast.dump(ast.parse(sound))
    assert all((PROJECT_ROOT / test).is_file() for test in fault.tests)


def test_each_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_place_that_is_gone_is_said() -> None:
    with pytest.raises(ValueError, match=r"has the place 0 times"):
        with_fault(FAULTS[0], "")


def test_a_fault_that_does_not_exist_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "no such fault"])
    assert ended.value.code == 2
    assert "no such fault" in capsys.readouterr().err
