# make demo: a real workflow on the embedded default.  make test: everything, with the services it needs.
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
N ?= 100000
MINUTES ?= 20
RUNS ?= 10000
SEED ?= 1

.PHONY: demo secrets test check audit coverage mutants dev simulate fuzz faults chaos bench bench-compare bench-core bench-slopes bench-spend bench-waiting bench-wipe lock clean
.DELETE_ON_ERROR:

.venv/python:
	@test -n "$(PYTHON)" || { echo "anabranch needs Python 3.11 to 3.13 with venv: apt-get install python3 python3-venv"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/python pyproject.toml requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev: .venv/run requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@touch $@

demo: .venv/run
	@$(BIN)/anabranch demo

# A password for each user and the addresses that hold them, for docker compose; what is there stays.
secrets: .venv/python
	@$(BIN)/python ops/make_secrets.py secrets

dev: .venv/run
	@$(BIN)/anabranch dev

check: .venv/dev
	@$(BIN)/ruff check contracts services tests migrations ops
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m anabranch_contracts.schemas --check

test: check coverage
	@$(BIN)/python -m pytest -q

# Known vulnerabilities of what is shipped; needs the network, and says when it had none.
.venv-audit/run: .venv/python
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1
	@touch $@

audit: .venv/run
	@$(MAKE) -s .venv-audit/run || echo "audit: pip-audit could not be installed"
	@$(BIN)/python -m ops.audit .venv-audit/bin/pip-audit requirements.lock

# Line and branch coverage of the pure floors by their fast tests: all of it, or it fails.
coverage: .venv/dev
	@$(BIN)/coverage run -m pytest -q -p no:xdist tests/unit tests/golden
	@$(BIN)/coverage report

# Mutants of the pure floors, some ten thousand; what was tried is kept in .mutation/. SAMPLE=25: so many of each file.
mutants: .venv/dev
	@$(BIN)/python -m ops.mutation $(if $(SAMPLE),--sample $(SAMPLE) --seed $(SEED))

fuzz: .venv/dev
	@$(BIN)/python -m tests.fuzz --inputs $(N)

simulate: .venv/dev
	@$(BIN)/python -m tests.simulation --runs $(N)

faults: .venv/dev
	@$(BIN)/python -m pytest -q -m "slow or not slow" tests/faults tests/integration/rabbitmq

chaos: .venv/dev
	@$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) --runs $(RUNS) --seed $(SEED)

.venv-bench/run: .venv/python ops/bench/requirements.txt ops/bench/install.py
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@$(BIN)/python -m ops.bench.install .venv-bench
	@touch $@

# all of it: BENCH="--scale 0.1 --rounds 1" for a try, BENCH=--help for the rest
bench: bench-compare bench-core bench-slopes

bench-compare: .venv/dev .venv-bench/run
	@$(BIN)/python -m ops.bench.compare $(BENCH)

bench-core: .venv/dev
	@$(BIN)/python -m ops.bench.core

bench-slopes: .venv/dev
	@$(BIN)/python -m ops.bench.slopes

bench-spend: .venv/dev
	@$(BIN)/python -m ops.bench.spend

bench-waiting: .venv/dev
	@$(BIN)/python -m ops.bench.waiting

bench-wipe: .venv/dev
	@ANABRANCH_WIPED_STEPS=10000 $(BIN)/python -m pytest -q -s --timeout 900 tests/faults/test_wipe.py

lock: .venv/dev
	@$(BIN)/python -m pip freeze --exclude-editable > requirements-dev.lock

clean:
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache
