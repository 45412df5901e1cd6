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
	sh .ci/reach $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# the ten experiments with faults (docs/store.md) at every point, not at some of them (some hours);
# MOBYSHELL_SWEEP_POINTS=20 is a shorter one. It goes on where it was ended; `rm -r .run/sweep` begins anew.
sweep: $(VENV)/.dev .ci/packages
	sh .ci/packages
	$(BIN)/python -m tests.faults.sweep .run/sweep

bench: $(VENV)/.runtime
	$(BIN)/mobyshell bench run --write docs/bench.md

docs: $(VENV)/.runtime
	$(BIN)/mobyshell help --markdown > docs/reference.md

native: $(VENV)/.runtime
	$(BIN)/python -m mobyshell.core.runtime.native.generate
	$(BIN)/python -m mobyshell.core.tasks.keeper_native
	$(BIN)/python -m mobyshell.runc.front
	$(BIN)/python -m mobyshell.runc.verbs

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
