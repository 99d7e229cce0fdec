# What a person types here: set-up, demo, proofs. How the set-up works is in scripts/setup.sh.

PYTHON ?=
ARGS ?=
BIN := .venv/bin

# Else each of some hundred processes compiles every file anew; images often set it. `git clean -X` removes what is written.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast soak lint docs clean postgresql

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## make .venv from requirements.lock and see that prometheus and bubblewrap are there
	@PYTHON='$(PYTHON)' sh scripts/setup.sh

demo: setup ## one real incident end to end; pass flags by ARGS="--incident NAME"
	@$(BIN)/harness demo $(ARGS)

postgresql: setup
	@PYTHON='$(PYTHON)' sh scripts/setup.sh tests

test: lint postgresql ## everything that CI runs (at most 30 minutes on 2 cores): on all cores, then what has to be alone
	$(BIN)/pytest -n auto --dist worksteal -m 'not alone' --durations=15 --session-timeout=2700 $(ARGS)
	$(BIN)/pytest -m alone --durations=15 --session-timeout=2700 $(ARGS)

test-fast: lint postgresql ## lint, contracts, types and the quick tests (about a minute once types are cached)
	$(BIN)/pytest -n auto --dist worksteal --ignore-glob='*/integration' --ignore-glob='*/acceptance' --ignore-glob='*/simulation' --ignore-glob='*/generative' $(ARGS)

soak: setup postgresql ## the long proofs; writes docs/evidence/<date>-<commit>.json
	$(BIN)/pytest tests/soak --timeout=7200 --durations=0 --evidence=docs/evidence $(ARGS)

lint: setup ## style, banned calls, import contracts, strict types
	$(BIN)/ruff check
	$(BIN)/ruff check --config ruff-pure.toml harness/core harness/agent harness/stages
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

docs: setup ## write the generated pages anew (a test compares them)
	$(BIN)/python docs/generate.py

clean: ## stop the stack, remove .venv and caches; the state in HARNESS_HOME stays
	-@test ! -x $(BIN)/harness || $(BIN)/harness down
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
