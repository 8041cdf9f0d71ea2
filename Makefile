# Everything on a fresh machine with Python 3.11 or newer: `make run`, `make test`, `make check`.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 3

RUNS ?= 10000

.PHONY: run test test-slow check bench simulate install clean-venv

run: $(STAMP)
	@exec $(BIN)/paysaga serve

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

# The soaks, and then examples that nobody has seen yet.
test-slow: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) -m slow
	$(BIN)/pytest -n $(WORKERS) -m "hypothesis and not slow" --hypothesis-profile=default

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# The whole system from seeds, among faults: see docs/simulation.md.
simulate: $(STAMP)
	$(BIN)/python -m tests.simulation --runs $(RUNS)

install: $(STAMP)

clean-venv:
	rm -rf $(VENV)

# Made anew only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { \
	  for python in python3.13 python3.12 python3.11 python3; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      "$$python" -m venv $(VENV) && exit 0; \
	      rm -rf $(VENV); \
	      echo "$$python cannot make a virtual environment: install its venv module" \
	        "(Debian: apt-get install python3-venv)" >&2; \
	      exit 1; \
	    fi; \
	  done; \
	  echo "PaySaga needs Python 3.11 or newer, and there is none: install it first" >&2; \
	  exit 1; \
	}
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)
