# `make demo` and `make test` set up everything they need in .venv, then run.

PYTHON ?= python3
BIN := .venv/bin

# Seconds that make fuzz takes, and processes at once.
SECONDS ?= 600
JOBS ?= 2

.PHONY: setup demo test lint types unit mutants fuzz audit samples bench clean

setup: .venv/ready

.venv/ready: pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'khodump needs Python 3.11 or newer: make PYTHON=python3.11 ...' >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || ./.ci/install-venv $(PYTHON)
	@echo 'Setting up .venv (once) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.lock pip
	@$(BIN)/pip install --quiet --constraint requirements-dev.lock --editable . --group dev
	@touch $@

demo: setup
	@echo '$$ khodump inspect samples/synthetic/mem.img --fdt samples/synthetic/kho.dtb'
	@$(BIN)/khodump inspect samples/synthetic/mem.img --fdt samples/synthetic/kho.dtb
	@echo
	@echo '$$ khodump inspect samples/captures/kho-test/serialized.elf'
	@$(BIN)/khodump inspect samples/captures/kho-test/serialized.elf

test: lint types unit

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest --numprocesses auto

# Change single lines of the rooms that decide, and see whether their tests notice: seven minutes. Not part of make test.
mutants: setup
	$(BIN)/python -m tests.mutation.run

# Fuzz on four levels, go on where the last run ended, and update the table of docs/reliability.md.
fuzz: setup
	@$(BIN)/pip install --quiet --constraint requirements-dev.lock --group fuzz || \
	  echo 'atheris cannot be installed here: three levels of four' >&2
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --jobs $(JOBS)

# Known vulnerabilities of what is installed for development. Strict: what cannot be looked up is no good news.
audit: setup
	@$(BIN)/pip install --quiet --constraint requirements-dev.lock --group audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement requirements-dev.lock

# Compare khodump with walkers in C and others; needs gcc, 10 GiB of scratch space, and a quiet quarter of an hour.
bench: setup
	$(BIN)/python -m benchmarks $(BENCH)

# Write the synthetic samples anew; a test holds them to this.
samples: setup
	$(BIN)/python -m tests.builders.samples

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz
