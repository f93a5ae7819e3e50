# Every target makes what it needs. `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-soak lint format bench docs clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and was not found." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) '.[dev]'
	touch $@

demo: $(VENV)/installed  ## Train on real data, kill it half-way, resume, show what is on disk
	$(BIN)/python examples/demo.py

test: $(VENV)/installed  ## Run the whole suite, and see that it covers 95 % of the lines
	HYPOTHESIS_PROFILE=full $(PYTEST) -n $(WORKERS) --dist worksteal --cov --cov-report=term

test-fast: $(VENV)/installed  ## Run what takes seconds, for daily work
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not soak"

test-soak: $(VENV)/installed  ## Run what takes many minutes: hundreds of kills
	$(PYTEST) -m soak

lint: $(VENV)/installed  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/installed  ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## Measure ours beside the peers and the raw limit
	$(BIN)/python benchmarks/run.py

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP_INSTALL) '.[docs]'
	touch $@

docs: $(VENV)/installed-docs  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## Remove what the other targets have made, this environment too
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis .coverage*
