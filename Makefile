.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STACK ?= examples/cinema
WORKERS ?= 2
# What starts no line: plans and everything rendered from them, journeys, trips, the documentation.
QUICK := tests/plan tests/tiers tests/trips tests/journeys tests/deploy/test_deploy_golden.py \
  tests/deploy/test_deploy_shapes.py tests/compare/test_compare_watch.py tests/compare/test_compare_workload.py \
  $(wildcard tests/test_*.py) --ignore=tests/journeys/test_generated.py

.PHONY: help setup up demo check test lint format bench lock clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

# The stamp is newer than the lock file exactly when the environment holds what the lock file says.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("tierline needs Python 3.11 or later; set PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) from requirements.lock"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.ready ## make .venv with everything from the lock file

up: setup ## start the example; Ctrl-C stops it
	@$(BIN)/tierline up $(STACK)

demo: setup ## a tour of about a minute that ends by itself
	@$(BIN)/tierline demo $(STACK) --path /film/41975

# Two files at a time. They share the machine, and many of them measure time: what fails is tried once more, alone, and
# named; when it fails again, all has failed. More than five failures are no accident and aren't tried again.
test: setup ## run all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --again 5 || { \
	  test $$? = 75 && echo "UNSTABLE: what failed above is tried once more, alone" && \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

check: lint ## lint, types and the quick tests, in less than two minutes
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(QUICK)

lint: setup ## formatter, linter and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure; ONLY=name for one
	@$(BIN)/python -m bench $(ONLY)

lock: ## resolve pyproject.toml into requirements.lock
	@$(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --strip-extras --all-extras -o requirements.lock pyproject.toml

clean: ## remove the environment and what was measured
	@rm -rf $(VENV)
