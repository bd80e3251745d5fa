"""Finding and installing Google's emulators, against made-up installations of the Google Cloud CLI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.local import install
from infra.local.errors import StackError
from infra.local.install import ensure_emulators


def executable(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def add_components(root: Path) -> None:
    executable(root / "bin" / "cloud_spanner_emulator" / "emulator_main")
    executable(root / "platform" / "pubsub-emulator" / "lib" / "cloud-pubsub-emulator-0.8.20-all.jar")


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    """An installation without emulators, reached over a link on PATH as packages install it; Java is there."""
    root = tmp_path / "sdk"
    executable(root / "bin" / "gcloud", "exit 9")
    executable(tmp_path / "path" / "java")
    (tmp_path / "path" / "gcloud").symlink_to(root / "bin" / "gcloud")
    return root


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": f"{tmp_path / 'path'}:/usr/bin:/bin"}


def test_components_are_found_behind_the_link_on_path(sdk: Path, environ: dict[str, str]) -> None:
    add_components(sdk)

    found = ensure_emulators(pytest.fail, environ)

    assert found.spanner == sdk / "bin" / "cloud_spanner_emulator" / "emulator_main"
    assert found.pubsub_jar.parent == sdk / "platform" / "pubsub-emulator" / "lib"
    assert found.java.name == "java"


def test_the_named_installation_wins_over_the_one_on_path(sdk: Path, environ: dict[str, str], tmp_path: Path) -> None:
    add_components(sdk)
    add_components(tmp_path / "other")

    found = ensure_emulators(pytest.fail, environ | {"CLOUDSDK_ROOT_DIR": str(tmp_path / "other")})

    assert found.spanner.is_relative_to(tmp_path / "other")


def test_missing_components_are_installed_with_gcloud(sdk: Path, environ: dict[str, str]) -> None:
    spanner, lib = sdk / "bin" / "cloud_spanner_emulator", sdk / "platform" / "pubsub-emulator" / "lib"
    executable(
        sdk / "bin" / "gcloud",
        f'[ "$1 $2 $3 $4" = "components install pubsub-emulator cloud-spanner-emulator" ] || exit 9\n'
        f"mkdir -p {spanner} {lib} && touch {spanner}/emulator_main {lib}/emulator.jar",
    )
    said: list[str] = []

    found = ensure_emulators(said.append, environ)

    assert found.pubsub_jar == lib / "emulator.jar"
    assert len(said) == 1
    assert "components install pubsub-emulator cloud-spanner-emulator" in said[0]


def test_a_failed_installation_says_what_to_run(sdk: Path, environ: dict[str, str]) -> None:
    assert sdk.exists()

    with pytest.raises(StackError) as caught:
        ensure_emulators(lambda _line: None, environ)

    assert "status 9" in caught.value.detail
    assert "components install pubsub-emulator cloud-spanner-emulator" in caught.value.fix


def packaged_by_apt(root: Path) -> None:
    config = root / "lib" / "googlecloudsdk" / "core" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{\n  "disable_updater": true\n}')


def test_a_packaged_gcloud_gets_its_components_from_apt(
    sdk: Path, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged_by_apt(sdk)
    spanner, lib = sdk / "bin" / "cloud_spanner_emulator", sdk / "platform" / "pubsub-emulator" / "lib"
    executable(
        tmp_path / "path" / "apt-get",
        f'[ "$1" = update ] && exit 0\n'
        f'[ "$*" = "install -y google-cloud-cli-pubsub-emulator google-cloud-cli-spanner-emulator" ] || exit 9\n'
        f"mkdir -p {spanner} {lib} && touch {spanner}/emulator_main {lib}/emulator.jar",
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert ensure_emulators(lambda _line: None, environ).spanner == spanner / "emulator_main"


def test_without_root_the_apt_command_is_left_to_the_person(
    sdk: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged_by_apt(sdk)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(StackError) as caught:
        ensure_emulators(pytest.fail, environ)

    assert caught.value.fix == (
        "run: sudo apt-get install -y google-cloud-cli-pubsub-emulator google-cloud-cli-spanner-emulator"
    )


def test_without_gcloud_there_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        ensure_emulators(pytest.fail, {"PATH": str(tmp_path)})

    assert "Google Cloud CLI" in caught.value.detail
    assert "CLOUDSDK_ROOT_DIR" in caught.value.fix


def test_without_java_and_apt_there_is_one_clear_message(sdk: Path, tmp_path: Path) -> None:
    add_components(sdk)

    with pytest.raises(StackError) as caught:
        ensure_emulators(pytest.fail, {"PATH": str(tmp_path), "CLOUDSDK_ROOT_DIR": str(sdk)})

    assert "Java 17" in caught.value.detail


def test_the_command_ends_with_status_1_and_the_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLOUDSDK_ROOT_DIR", raising=False)

    assert install.main() == 1
    assert "what to do:" in capsys.readouterr().err
