# Two commands do everything on a fresh machine:
#   make run     virtual environment, dependencies, a first bundle from what the machine has; opens the TUI
#   make test    the same and the system packages the tests need; runs every check and the whole suite

VENV   ?= .venv
BIN     = $(VENV)/bin
BUNDLES = .run/bundles

.PHONY: run test check unit sweep bench docs native clean

run: $(VENV)/.runtime
	@mkdir -p $(BUNDLES)
	@test -d $(BUNDLES)/first || (cd $(BUNDLES) && $(CURDIR)/$(BIN)/mobyshell bundle new first)
	@cd $(BUNDLES) && exec $(CURDIR)/$(BIN)/mobyshell

test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check mobyshell tests
	$(BIN)/ruff format --check mobyshell tests
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev .ci/packages
	sh .ci/packages
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

# kill -9 at every step of what changes the store, not at some of them (ten minutes)
sweep: $(VENV)/.dev .ci/packages
	sh .ci/packages
	MOBYSHELL_SWEEP=all $(BIN)/python -m pytest -q tests/core/store/test_killed.py tests/core/store/test_unpack_killed.py

bench: $(VENV)/.runtime
	$(BIN)/mobyshell bench run --write docs/bench.md

docs: $(VENV)/.runtime
	$(BIN)/mobyshell help --markdown > docs/reference.md

native: $(VENV)/.runtime
	$(BIN)/python -m mobyshell.core.runtime.native.generate

$(VENV)/bin/python:
	sh .ci/venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) .run .mypy_cache .ruff_cache .hypothesis
