# `make help` explains every target. PYTHON names the interpreter that .venv is made with.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Passed to harness; empty means the default of harness.
TARGET  ?=
HOST    ?=
MODEL   ?=
VARIANT ?=
SUITE   ?=
BUDGET  ?=
PROFILE ?=
DURATION ?=
WAIT    ?=
RELEASE ?=
DECIDE_WITHIN ?=
ONLY    ?=
# The tests start hundreds of Python processes; without byte code each of them compiles every module anew.
# A third of their time they wait for processes, deadlines and connections: so there are more workers than cores.
TESTED  := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal -q -rs
SELECT   = $(if $(TARGET),--target $(TARGET)) $(if $(HOST),--host $(HOST)) $(if $(MODEL),--model $(MODEL)) $(if $(VARIANT),--variant $(VARIANT)) \
           $(if $(BUDGET),--budget $(BUDGET)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(DURATION),--duration $(DURATION))

.DEFAULT_GOAL := help
.PHONY: help validate plan report screenshots gate targets doctor test test-full lint format bench mutate fuzz install clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  TARGET=cpu,openvino,tflite  MODEL=folder or validation.toml  VARIANT=int8  SUITE=accuracy  BUDGET=3m"
	@echo "  PROFILE=quick|standard|soak  DURATION=30m (of a soak)"
	@echo "  HOST=user@board  WAIT=30m  (TARGET=raspberrypi)  RELEASE=1 (demand real hardware)  DECIDE_WITHIN=10m"

validate: $(VENV)/.all  ## Compress the model, run it on TARGET, end with a verdict
	@$(BIN)/harness validate $(SELECT) $(if $(SUITE),--suite $(SUITE)) $(if $(WAIT),--wait $(WAIT)) $(if $(RELEASE),--release) \
	  $(if $(DECIDE_WITHIN),--decide-within $(DECIDE_WITHIN))

plan: $(VENV)/.all  ## Show what validate would run, how long it takes and what it can decide
	@$(BIN)/harness plan $(SELECT) $(if $(SUITE),--suite $(SUITE))

report: $(VENV)/.all  ## Write RUN (default: latest) as one HTML file, report.html
	@$(BIN)/harness report $(or $(RUN),latest)

screenshots: $(VENV)/.test  ## Write docs/images/*.png of RUN (two devices or more; needs chromium and chromedriver)
	@$(BIN)/python docs/screenshots.py $(or $(RUN),latest)

gate: $(VENV)/.all  ## Run the same gates as pytest items
	@$(BIN)/python -m pytest suites $(SELECT)

targets: $(VENV)/.all  ## Show what can run here, and if not, why and how to install it
	@$(BIN)/harness targets

doctor: $(VENV)/.all  ## Find what is wrong with this machine, or with TARGET
	@$(BIN)/harness doctor $(if $(TARGET),--target $(TARGET)) $(if $(HOST),--host $(HOST))

test: $(VENV)/.test  ## Run every test (under 10 minutes on two cores)
	$(TESTED)

test-full: $(VENV)/.test  ## Run the tests with their full counts
	$(TESTED) -m "full or not full"

lint: $(VENV)/.lint  ## Run ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint  ## Let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## Measure the overhead of the harness, as ratios in one run (under 10 minutes)
	$(BIN)/python -m benchmarks

mutate: $(VENV)/.mutate  ## Do the tests notice changed lines? (hours; ONLY=harness/stats for a part)
	$(BIN)/python -m tests.mutation $(ONLY)

fuzz: $(VENV)/.fuzz  ## Look for files that crash a reader (SECONDS=300; ONLY=journal for one)
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),300) $(ONLY)

install: $(VENV)/.all  ## Make .venv with the CPU runtimes and pytest

clean:  ## Delete .venv and the caches of the tools; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .mutants
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "harness needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: it is installed again when its requirements changed.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
