PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help demo test lint bench
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: .venv/.ready ## run the sample session and show the result
	@$(BIN)/affectstream demo

test: .venv/.ready lint ## lint, then all tests
	@$(BIN)/python -m pytest

lint: .venv/.ready ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: .venv/.ready ## measure speed and memory, write docs/benchmarks
	@$(BIN)/python -m pipelines.bench

.venv/.ready: requirements.lock setup.py
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "making the environment in .venv (3 to 5 minutes, about 6 GB)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --progress-bar on --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
