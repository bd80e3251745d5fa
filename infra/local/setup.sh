#!/usr/bin/env bash
# Creates or refreshes .venv with the locked packages and this project. Called by the Makefile from the project's root;
# the argument is the Python to use.
set -euo pipefail

# Progress: standard output belongs to what was asked for, for example `make demo ARGS=--json` on a fresh machine.
exec 1>&2

python="${1:-python3}"

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

command -v "$python" >/dev/null || fail "'$python' not found; install Python 3.11 or later, or name one: make PYTHON=python3.12 …"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1) is too old, 3.11 or later is needed; name a newer one: make PYTHON=python3.12 …"

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "this Python cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install python3-venv"

if [ ! -x .venv/bin/pip ]; then
  echo "setup: creating .venv with $("$python" --version)"
  "$python" -m venv .venv
fi

echo "setup: installing locked packages (about a minute the first time)"
.venv/bin/pip install --disable-pip-version-check --quiet --require-hashes --requirement requirements-setup.txt
.venv/bin/pip install --disable-pip-version-check --require-hashes --requirement requirements-dev.txt

echo "setup: installing the project itself"
.venv/bin/pip install --disable-pip-version-check --quiet --no-deps --editable .
