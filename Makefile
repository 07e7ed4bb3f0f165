# make repro   set up if needed, run the pipeline, print the metrics
# make test    set up if needed, run all tests; make quick: those of a minute
# make docs    set up if needed, build the site of docs/
# Variables: PYTHON (which interpreter makes the environment), VENV (where it lies), PIP_ARGS (more arguments for pip).

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
# Test processes side by side; each computes with one thread, so that they do not fight over the cores.
WORKERS ?= 2

# Tests write thousands of small files, which some disks delete slowly: write them to memory if it has $(1) GB free.
in_memory = $(shell df -Pk /dev/shm 2> /dev/null | awk 'NR > 1 && $$4 > 1000000 * $(1) {print "TMPDIR=/dev/shm"}')

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Container images often set it, and then each of the hundreds of processes of a test run compiles the sources again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help in-git setup repro test quick lint docs lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make the environment from requirements.lock and install panvision into it

# The stamp is the last thing written: the project's own .venv without one is half made, so it is made anew.
# An environment named by VENV is never emptied, only completed.
CLEAR := $(if $(filter .venv,$(VENV)),$(if $(wildcard $(STAMP)),,--clear))

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "panvision needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1 | head -n 1`." \
	         "Name another one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -e $(STAMP) -a -x $(BIN)/python || $(PYTHON) -m venv $(CLEAR) $(VENV) || { \
	    echo "$(PYTHON) cannot make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes $(PIP_ARGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# DVC finds this out only after the installation.
in-git:
	@git rev-parse --git-dir > /dev/null || { \
	    echo "DVC needs a git repository here: clone the project with git, or, where it was unpacked from a ZIP file," \
	         "run: git init && git add --all && git commit -m start" >&2; exit 1; }

repro: in-git setup  ## run the pipeline (dvc repro), then print the metrics
	$(BIN)/panvision params
	$(BIN)/dvc repro
	@$(BIN)/panvision summary

test: setup  ## run all tests
	$(call in_memory,8) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

quick: setup  ## run the tests that start no process, no DVC and no browser
	$(call in_memory,1) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not process and not slow" \
	    --hypothesis-profile=quick $(PYTEST_ARGS)

lint: setup  ## style, formatting, imports between the rooms, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: setup  ## build the site of docs/ into build/docs/html; a warning is an error
	$(BIN)/python -m sphinx -M html docs build/docs -W --keep-going -n -E -q

# The second file holds the part of the first that the training stages depend on, at the same versions.
LOCK := uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet
lock:  ## pin the dependencies of pyproject.toml again (needs uv)
	$(LOCK) pyproject.toml --extra dev -o requirements.lock
	$(LOCK) --group train-stages -c requirements.lock -o requirements-train.lock

clean:  ## remove the environment and the tools' caches; data, models and reports stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
