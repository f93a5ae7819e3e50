# Every target makes what it needs. `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
# The first of these versions that is installed. The variable tells pyenv's shims which one to run.
find_python = $(shell for version in $(1); do \
	PYENV_VERSION=$$version python$$version -c 'import sys; print(sys.executable)' 2>/dev/null \
	&& break; done)
PYTHON ?= $(or $(shell python3 -c 'import sys; sys.version_info >= (3, 11) and print("python3")'), \
	$(call find_python,3.15 3.14 3.13 3.12 3.11))
VERSIONS := --constraint constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(VERSIONS) \
	--editable
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-soak test-oldest test-newest test-versions lint format bench docs wheel clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and was not found." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml $(wildcard constraints*.txt) | $(BIN)/python
	$(PIP_INSTALL) '.[dev]'
	touch $@

$(VENV)/installed-demo: pyproject.toml $(wildcard constraints*.txt) | $(BIN)/python
	$(PIP_INSTALL) '.[view]' optax scikit-learn tensorboard
	touch $@

demo: $(VENV)/installed-demo  ## Train on real data, kill it half-way, resume, show what is on disk
	$(BIN)/python examples/demo.py

test: $(VENV)/installed  ## Run the whole suite, and see that it covers 95 % of the lines
	HYPOTHESIS_PROFILE=full $(PYTEST) -n $(WORKERS) --dist worksteal --cov --cov-report=term

test-fast: $(VENV)/installed  ## Run what takes seconds, for daily work
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not soak"

test-soak: $(VENV)/installed  ## Run what takes many minutes: hundreds of kills
	$(PYTEST) -m soak

test-oldest:  ## Run the suite with the oldest supported Python and dependencies
	$(MAKE) test-versions VENV=.venv-oldest VERSIONS="--constraint constraints-oldest.txt" \
		PYTHON=$(call find_python,3.11 3.12 3.13 3.14 3.15)

test-newest:  ## Run the suite with the newest Python found and the newest dependencies
	rm -f .venv-newest/installed
	$(MAKE) test-versions VENV=.venv-newest VERSIONS="--upgrade --upgrade-strategy eager" \
		PYTHON=$(call find_python,3.15 3.14 3.13 3.12 3.11)

test-versions: $(VENV)/installed
	$(PYTEST) -n $(WORKERS) --dist worksteal

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

wheel: $(VENV)/installed  ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean:  ## Remove what the other targets have made, the environments too
	rm -rf .venv* site build dist .pytest_cache .ruff_cache .hypothesis .coverage*
