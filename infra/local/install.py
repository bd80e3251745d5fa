"""Finds Google's emulators and installs what is missing where that can be done without asking; else says what to run.

`python -m infra.local.install` does the same from a shell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.local.emulators import (
    PUBSUB_COMPONENT,
    SPANNER_COMPONENT,
    Emulators,
    find_gcloud,
    find_java,
    find_pubsub_jar,
    find_sdk_root,
    find_spanner,
)
from infra.local.errors import Report, StackError
from shared.errors import PipelineError

_APT_PACKAGES = {
    PUBSUB_COMPONENT: "google-cloud-cli-pubsub-emulator",
    SPANNER_COMPONENT: "google-cloud-cli-spanner-emulator",
}
_JAVA_PACKAGE = "default-jre-headless"


def ensure_emulators(report: Report, environ: Mapping[str, str] = os.environ) -> Emulators:
    """Java and both emulators, installed now when missing. Raises `StackError` with the command a person can run."""
    root = find_sdk_root(environ)
    if root is None:
        raise StackError(
            "no_gcloud",
            "the Google Cloud CLI, which brings the Pub/Sub and Spanner emulators, is not on PATH",
            fix="install it from https://cloud.google.com/sdk/docs/install, or set CLOUDSDK_ROOT_DIR",
        )
    missing = _missing_components(root)
    if missing:
        _install_components(missing, root=root, report=report, environ=environ)
    if find_java(environ) is None:
        _install_java(report=report, environ=environ)
    return _found(root, environ)


def _missing_components(root: Path) -> list[str]:
    found = {PUBSUB_COMPONENT: find_pubsub_jar(root), SPANNER_COMPONENT: find_spanner(root)}
    return [component for component, path in found.items() if path is None]


def _install_components(missing: list[str], *, root: Path, report: Report, environ: Mapping[str, str]) -> None:
    gcloud = find_gcloud(environ) or root / "bin" / "gcloud"
    if not _is_managed_by_apt(root):
        _run([str(gcloud), "components", "install", *missing, "--quiet"], report=report, environ=environ)
    else:
        _apt_install([_APT_PACKAGES[component] for component in missing], report=report, environ=environ)


def _install_java(*, report: Report, environ: Mapping[str, str]) -> None:
    if shutil.which("apt-get", path=environ.get("PATH")) is None:
        raise StackError(
            "no_java", "the Pub/Sub emulator needs Java 17 or later", fix="install a JRE and put `java` on PATH"
        )
    _apt_install([_JAVA_PACKAGE], report=report, environ=environ)


def _is_managed_by_apt(root: Path) -> bool:
    """Distribution packages switch gcloud's own component manager off in this file."""
    config = root / "lib" / "googlecloudsdk" / "core" / "config.json"
    return config.exists() and '"disable_updater": true' in config.read_text(encoding="utf-8")


def _apt_install(packages: list[str], *, report: Report, environ: Mapping[str, str]) -> None:
    command = ["apt-get", "install", "-y", *packages]
    if os.geteuid() != 0:
        raise StackError(
            "needs_root",
            f"not installed: {', '.join(packages)}",
            fix=f"run: sudo {' '.join(command)}",
        )
    _run(["apt-get", "update"], report=report, environ=environ)
    _run(command, report=report, environ=environ)


def _run(command: list[str], *, report: Report, environ: Mapping[str, str]) -> None:
    """Run an installer in view of the person; its progress goes where ours goes."""
    line = " ".join(command)
    report(f"installing: {line}")
    try:
        status = subprocess.run(command, env=dict(environ), stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        raise StackError("install_failed", f"could not run `{line}`: {error.strerror}", fix=f"run: {line}") from error
    if status != 0:
        raise StackError("install_failed", f"`{line}` ended with status {status}", fix=f"run: {line}")


def _found(root: Path, environ: Mapping[str, str]) -> Emulators:
    java, jar, spanner = find_java(environ), find_pubsub_jar(root), find_spanner(root)
    if java is None or jar is None or spanner is None:
        absent = [name for name, path in (("java", java), ("pubsub", jar), ("spanner", spanner)) if path is None]
        raise StackError(
            "emulators_missing",
            f"installed, but still not found under {root} or on PATH: {', '.join(absent)}",
            fix=f"run: gcloud components install {PUBSUB_COMPONENT} {SPANNER_COMPONENT}",
        )
    return Emulators(java=java, pubsub_jar=jar, spanner=spanner)


def main() -> int:
    """Entry point of `python -m infra.local.install`."""
    try:
        found = ensure_emulators(print)
    except PipelineError as error:
        sys.stderr.write(f"{error.detail}\n  what to do: {error.fix}\n")
        return 1
    print(f"Pub/Sub emulator: {found.pubsub_jar}\nSpanner emulator: {found.spanner}\nJava: {found.java}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
