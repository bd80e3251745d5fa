# Every target sets the project up first: `make test` works on a fresh clone. More arguments: make test ARGS="-k webhook"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
# Most tests wait for an emulator, so more workers than cores pay; a debugger wants none: make test WORKERS=0
WORKERS ?= 4
BIN := .venv/bin
READY := .venv/.ready

# Containers often forbid bytecode. Every worker, command and service of a test run would then compile all modules anew:
# 12 s instead of 6 for each worker of `make test`, before its first test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test up bench chaos chaos-series fuzz mutants lint secrets audit sbom checkov image-check lock recordings clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with everything in it (about a minute, once)

demo: $(READY) ## follow one call through the whole pipeline
	@$(BIN)/pipeline demo $(ARGS)

test: $(READY) ## run all tests
	@$(BIN)/pytest --numprocesses $(WORKERS) --no-loadscope-reorder $(ARGS)

up: $(READY) ## run the local stack until Ctrl-C
	@$(BIN)/pipeline local up $(ARGS)

bench: $(READY) ## measure what README.md promises
	@$(BIN)/pipeline bench $(ARGS)

chaos: $(READY) ## 500 calls under every fault we know, then an audit (ARGS="--seed 42" repeats a plan)
	@$(BIN)/pipeline chaos --calls 500 --duration 5m $(ARGS)

chaos-series: $(READY) ## 1,000 calls with each of 20 seeds; hours; goes on where chaos-series.jsonl ends
	@$(BIN)/pipeline chaos --seeds 20 --calls 1000 --duration 5m $(ARGS)

fuzz: $(READY) ## feed every parser and service with rubbish (ARGS="--budget 600"; --target, --seed, --repeat)
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

mutants: $(READY) ## put typical faults into a copy of the code and see which test notices each (ten minutes)
	@$(BIN)/python -m tests.mutants.run $(ARGS)

lint: $(READY) ## ruff, mypy, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

secrets: $(READY) ## keys and tokens committed by mistake
	@$(BIN)/python -m infra.supply.secrets

audit: $(READY) ## known weaknesses of what the locks pin (needs a network; says when it could not look)
	@$(BIN)/python -m infra.supply.audit

sbom: $(READY) ## what the image is made of: build/sbom.cdx.json (CycloneDX)
	@$(BIN)/python -m infra.supply.sbom

image-check: $(READY) ## the Dockerfile's steps in a clean directory, then every service as Cloud Run starts it (root, minutes)
	@$(BIN)/python -m infra.supply.image

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links

lock: $(READY) ## resolve requirements*.txt anew from pyproject.toml (ARGS="--upgrade" for newer releases)
	$(LOCK) $(ARGS) -o requirements.txt
	$(LOCK) $(ARGS) --extra dev --constraint requirements.txt -o requirements-dev.txt

checkov: $(READY) ## look for weak spots in infra/terraform (in an environment of its own: it drags in 90 packages)
	$(BIN)/uv tool run --from checkov==3.3.30 checkov --directory infra/terraform --framework terraform --quiet --compact --skip-download $(ARGS)

recordings: $(READY) ## make the sample recordings anew
	@$(BIN)/python -m infra.local.recordings.make $(ARGS)

clean: ## stop the local stack and remove everything that was made
	@if [ -x $(BIN)/pipeline ] && [ -f .local/state.json ]; then $(BIN)/pipeline local down; fi
	rm -rf .venv .local build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): requirements-dev.txt requirements-setup.txt pyproject.toml
	@bash infra/local/setup.sh "$(PYTHON)"
	@touch $@
