# Everything runs in .venv, which `make` sets up by itself: the first time, and again whenever
# pyproject.toml or constraints.txt has changed. Another interpreter: make PYTHON=/path/to/python

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STARTED := $(VENV)/.installing
PIP := $(BIN)/python -m pip --disable-pip-version-check install
PYTHON ?=

.PHONY: help demo test browser docs faults fuzz audit format clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## Edit a picture with the bundled model
	$(BIN)/counterflow demo

test: $(INSTALLED) ## Lint, check the format and the types, run the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	# A process for each core: small tensors gain nothing from a second thread.
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist worksteal

browser: $(INSTALLED) ## Test the page in Debian's browser
	COUNTERFLOW_BROWSER=1 $(BIN)/pytest -q -p no:cacheprovider browser

docs: $(INSTALLED) ## Build the documents into build/docs
	rm -rf docs/api build/docs
	$(BIN)/sphinx-build -q -W -d build/doctrees docs build/docs

faults: $(INSTALLED) ## Kill, starve and poison batches, for half an hour
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -s -p no:cacheprovider faults

audit: $(INSTALLED) ## Look for known advisories of the dependencies
	.ci/audit

SECONDS := 60

fuzz: $(INSTALLED) ## Fuzz every reader of foreign files, for SECONDS each (60)
	$(PIP) -q -c constraints.txt -e '.[dev,fuzz]'
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

format: $(INSTALLED) ## Format the code and put right what ruff can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean: ## Remove caches and builds (the environment stays: rm -r .venv)
	rm -rf build dist docs/api .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests fuzz -name __pycache__ -type d -prune -exec rm -rf {} +

# The torch of the constraints is asked for alone and first: so asked, pip takes a CPU build where
# one is on offer. An installation that was begun and not finished is thrown away and begun anew.
$(INSTALLED): pyproject.toml constraints.txt
	@set -eu; \
	python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	  python=python3; \
	  if python3.11 -c '' 2>/dev/null; then python=python3.11; fi; \
	fi; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$("$$python" --version 2>/dev/null || echo missing); \
	  echo "counterflow needs Python 3.11 or newer, but $$python is $$found:" \
	    "try make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	}; \
	if [ -e $(STARTED) ]; then echo "Removing an unfinished $(VENV)"; rm -rf $(VENV); fi; \
	mkdir -p $(VENV); \
	touch $(STARTED); \
	rm -f $(INSTALLED); \
	echo "Setting up $(VENV) with $$python"; \
	"$$python" -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@rm $(STARTED)
	@touch $@
