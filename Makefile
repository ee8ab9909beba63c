# Set-up needs python3 (3.11 or later), make, git and the package index.
# Every target creates .venv when it is missing and reuses it when it is not.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench bench-million torture torture-disk bitflips crashes ioerrors simulate mutants conformance record lint fix floors clean

demo: $(VENV)/.runtime
	$(BIN)/python examples/worker_pool.py

test: lint
	$(BIN)/pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

# Some minutes: a tree of a million znodes, its start, its stalls, its snapshots.
bench-million: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks --only million

# By hand: real processes killed and frozen for some minutes.
torture: $(VENV)/.dev
	$(BIN)/python tests/processes/torture.py

# By hand, some minutes, with Debian's package strace: a real process is killed, or
# refused, at every write, sync and rename.
torture-disk: $(VENV)/.dev
	$(BIN)/python tests/processes/torture_disk.py

# Some minutes: every bit and every length of a small data directory; `make test` has
# a sample.
bitflips: $(VENV)/.dev
	BITFLIPS=all $(BIN)/pytest -q tests/storage/test_bit_flips.py

# Under a minute: every call of the store's work fails in every way; `make test` has
# a sample.
ioerrors: $(VENV)/.dev
	IO_ERRORS=all $(BIN)/pytest -q tests/storage/test_every_error.py

# A million crashes, in some three minutes; `make test` has twenty thousand.
crashes: $(VENV)/.dev
	CRASH_SEEDS=2600 $(BIN)/pytest -q tests/storage/test_every_crash.py

# Sixty million events, in some thirty minutes on two cores; fails if any seed
# violates anything, or all of them together miss a situation.
SEEDS ?= 5400
JOBS ?= 2
SECONDS_EACH ?= 5
simulate: $(VENV)/.dev
	$(BIN)/python -m coordlib.testing.simulate --seeds $(SEEDS) --seconds $(SECONDS_EACH) --jobs $(JOBS)

# Breaks one rule after the other and lets the simulator object: some ten minutes.
mutants: $(VENV)/.dev
	$(BIN)/python -m coordlib.testing.mutants --jobs $(JOBS)

# Needs Debian's package zookeeper. Fails at a difference that is not meant.
SEED ?= 1
PROGRAMS ?= 1000
conformance: $(VENV)/.dev
	$(BIN)/python -m tests.conformance --seed $(SEED) --programs $(PROGRAMS)

# Writes anew what `make test` holds coordlib against where there is no ZooKeeper.
record: $(VENV)/.dev
	$(BIN)/python -m tests.conformance --seed $(SEED) --programs $(PROGRAMS) --record

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The oldest dependencies that pyproject.toml admits, in an environment of their own.
floors:
	$(PYTHON) .ci/floors.py > .ci/floors.txt
	$(PYTHON) -m venv .venv-floors
	.venv-floors/bin/python -m pip install -q --upgrade pip
	.venv-floors/bin/python -m pip install -q -e . --group test -c .ci/floors.txt
	.venv-floors/bin/pytest -q

$(VENV)/.runtime: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install -q -e . --group dev
	touch $@

clean:
	rm -rf .venv .venv-floors .ci/floors.txt .mypy_cache .ruff_cache .pytest_cache .hypothesis
