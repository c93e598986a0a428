# The commands of this project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-tensorflow lint types check serve docs bench bench-serving bench-vizier bench-jobs fuzz soak clean
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.venv/.ok: pyproject.toml requirements/dev.txt requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "Install Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=... names another."; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/uv.txt requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.ok  ## The main job, end to end: deploy, share, predict, revoke (KEEP=1 leaves the server up)
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: .venv/.ok  ## The whole test suite, real components included
	@$(BIN)/python -m tests.needs
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

lint: .venv/.ok  ## Format, lint, import rules
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/lint-imports --no-cache | tail -n 3

types: .venv/.ok  ## Strict type check
	@$(BIN)/mypy

check: lint types test  ## All that must hold before a change lands

serve: .venv/.ok  ## A server on ./mlgate-data (after mlgate admin init)
	@$(BIN)/mlgate serve

docs: .venv/.ok  ## Write the reference pages from the method table, and take the sharing guide's pictures
	@$(BIN)/python -m docs.reference
	@$(BIN)/python -m tests.needs
	@MLGATE_PICTURES=docs/sharing $(BIN)/pytest tests/console/test_sharing.py -k guide

bench: .venv/.ok  ## Measure decisions and predictions into docs/benchmarks.md
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt \
		|| echo "Some peers cannot be installed; the tables will say which are missing."
	@$(BIN)/python -m bench

bench-serving: .venv/.ok  ## Measure prediction beside its peers into docs/benchmarks-serving.md (1.5 GB of peers, hours)
	@$(BIN)/python -m bench.serving

bench-vizier: .venv/.ok  ## Measure the optimizer beside Optuna into docs/benchmarks-vizier.md (2 GB of peers, hours)
	@[ -x .vizier/bin/python ] || $(BIN)/uv venv --quiet --python $(BIN)/python .vizier
	@$(BIN)/uv pip install --quiet --python .vizier/bin/python --require-hashes -r requirements/bench-vizier.txt
	@PYTHONPATH=.:src .vizier/bin/python -m bench.vizier --write

fuzz: .venv/.ok  ## Random worlds and requests, for longer
	@MLGATE_FUZZ_WORLDS=$${MLGATE_FUZZ_WORLDS:-300000} MLGATE_FUZZ_EXAMPLES=$${MLGATE_FUZZ_EXAMPLES:-100} \
		$(BIN)/pytest tests/properties tests/http/test_schemathesis.py

soak: .venv/.ok  ## Kill, stop and restart loaded servers; revocation and escalation at length (takes hours)
	@MLGATE_SOAK_ROUNDS=$${MLGATE_SOAK_ROUNDS:-60} MLGATE_FAULT_ROUNDS=$${MLGATE_FAULT_ROUNDS:-30} \
		MLGATE_REVOCATION_ROUNDS=$${MLGATE_REVOCATION_ROUNDS:-1000} MLGATE_ESCALATION_ALL=1 \
		$(BIN)/pytest -s tests/recovery tests/concurrency tests/escalation tests/jobs tests/http/test_metrics.py tests/hosts/test_mixed.py
	@$(BIN)/python -m tests.concurrency.cost

bench-jobs: .venv/.ok  ## Measure what jobs and batch predictions cost into docs/benchmarks-jobs.md
	@$(BIN)/python -m bench.jobs --write

test-tensorflow: .venv/.ok  ## TensorFlow models, in environments that it builds first (half a gigabyte each)
	@MLGATE_TENSORFLOW=$${MLGATE_TENSORFLOW:-.tensorflow} $(BIN)/pytest tests/tensorflow

clean:  ## Remove the environment and caches
	rm -rf .venv .serving .vizier .tensorflow .mypy_cache .ruff_cache .pytest_cache .hypothesis
