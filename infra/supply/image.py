"""`make image-check`: the Dockerfile's steps carried out without Docker, then every service started as Cloud Run does.

In a mount namespace of its own: an empty /opt, /srv and a copied /etc, into which the steps are run (`useradd`, the
virtual environment from the lock, exactly what COPY names). Then everything is made read-only but an empty /tmp, and
each service is started by the CMD as the image's user with `PORT` set, asked whether it lives, and ended by SIGTERM.
Only the base image is not the real one: this machine's Python and system stand for it. Needs root, and minutes for the
packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from handlers.main import TARGETS
from infra.supply.dockerfile import Stage, read
from infra.supply.served import Started, problems_of
from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
_PYTHON = Path("/opt/base-python")
"""Where this machine's Python is seen inside: its own place may be closed to the image's user."""
_AS_USER = ("setpriv", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
_INSIDE = "inside"


def main(arguments: list[str]) -> int:
    """Exit status 0 when every service did what it must, 1 when one did not, 3 where this cannot be checked."""
    if arguments[:1] == [_INSIDE]:
        return _check(Path(arguments[1]))
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        sys.stdout.write("image-check: COULD NOT CHECK: needs root, unshare and setpriv\n")
        return 3
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "infra.supply.image"]
        return subprocess.run([*command, _INSIDE, folder], cwd=ROOT, check=False).returncode


def _check(clean: Path) -> int:
    """Inside the namespace."""
    _make_clean(clean)
    *builders, final = read(ROOT / "Dockerfile")
    for stage in (*builders, final):
        _carry_out(stage)
    user = final.last("USER").text
    _make_read_only(user)
    environment = {name: value for step in final.steps if step.word == "ENV" for name, value in step.settings.items()}
    environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
    # The interpreter's own library lies where the image's user may not look; another Python's must not stand in.
    environment["LD_LIBRARY_PATH"] = str(_PYTHON / "lib")
    faults = []
    for service in TARGETS:
        started = Started(
            service=service,
            command=[*_AS_USER, f"--reuid={user}", f"--regid={user}", "--", *final.last("CMD").command],
            folder=Path(final.last("WORKDIR").text),
            environment=environment,
        )
        found = problems_of(started)
        sys.stdout.write(f"{service:<12} {'; '.join(found) or 'lives, wrote nothing outside /tmp, ended on SIGTERM'}\n")
        faults += found
    return 1 if faults else 0


def _make_clean(clean: Path) -> None:
    """An /opt and a /srv with nothing in them but what stands for the base image, and an /etc to change."""
    for name in ("opt", "srv"):
        (clean / name).mkdir()
    for child in Path("/opt").iterdir():  # where the base image's own things may lie
        if child.is_dir():
            (clean / "opt" / child.name).mkdir()
            _mount("--bind", str(child), str(clean / "opt" / child.name))
    inside = clean / "opt" / _PYTHON.name
    inside.mkdir(exist_ok=True)
    _mount("--bind", sys.base_prefix, str(inside))
    shutil.copytree("/etc", clean / "etc", symlinks=True, ignore_dangling_symlinks=True)
    _mount("--rbind", str(clean / "opt"), "/opt")
    _mount("--bind", str(clean / "srv"), "/srv")
    _mount("--bind", str(clean / "etc"), "/etc")
    clean.chmod(0o755)


def _carry_out(stage: Stage) -> None:
    """The steps of one stage, in order; `build` is where COPY lands before a WORKDIR is said."""
    folder = Path("/srv/build")
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PATH": f"{_PYTHON / 'bin'}:{os.environ['PATH']}"}
    for step in stage.steps:
        if step.word == "ENV":
            environment |= {name: value.replace("$PATH", environment["PATH"]) for name, value in step.settings.items()}
        elif step.word == "WORKDIR":
            folder = Path(step.text)
            folder.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY" and not step.from_stage:
            copy(step.sources, step.target, root=ROOT, folder=folder)
        elif step.word == "RUN":
            sys.stdout.write(f"RUN {step.text[:90]}\n")
            sys.stdout.flush()
            subprocess.run(
                ["/bin/sh", "-c", step.text], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
            )


def copy(sources: list[str], target: str, *, root: Path, folder: Path) -> None:
    """As COPY does: the contents of a folder, or files into one; `.dockerignore`'s places stay out."""
    ignored = [line for line in (root / ".dockerignore").read_text(encoding="utf-8").split() if "*" not in line]

    def leave_out(place: str, names: list[str]) -> list[str]:
        inside = Path(place).relative_to(root)
        return [name for name in names if (inside / name).as_posix() in ignored or name == "__pycache__"]

    for source in sources:
        destination = folder / target
        if (root / source).is_dir():
            shutil.copytree(root / source, destination, ignore=leave_out, dirs_exist_ok=True)
            continue
        into_folder = target.endswith("/")
        (destination if into_folder else destination.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / source, destination)


def _make_read_only(user: str) -> None:
    """Everything but an empty /tmp, and proof of it."""
    shutil.rmtree("/srv/build")
    for place in ("/etc", "/srv", "/opt"):
        _mount("-o", "remount,bind,ro", place)
    _mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", "/tmp")  # noqa: S108 - a fresh one, ours alone
    _mount("-o", "remount,bind,ro", "/")
    for place in ("/", "/srv/pipeline", "/opt/venv", "/etc", "/var", "/home"):
        tried = subprocess.run(["touch", f"{place}/written"], capture_output=True, check=False)
        if tried.returncode == 0:
            raise SystemExit(f"{place} can be written, and should not")
    who = subprocess.run(["id", "-u", user], capture_output=True, text=True, check=True).stdout.strip()
    sys.stdout.write(json.dumps({"user": user, "uid": int(who), "writable": ["/tmp"]}) + "\n")  # noqa: S108 - its name


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
