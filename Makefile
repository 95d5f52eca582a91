# Each target does its own set-up in .venv; a bare `python3 -m venv` is enough to begin.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
# The second try is for networks whose certificates only this machine knows.
define sync
@UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --frozen --quiet --inexact $(1) 2>.venv/sync.log \
	|| UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --frozen --quiet --inexact $(1) --system-certs
endef

.PHONY: demo cluster test check bench crash format clean
.DEFAULT_GOAL := demo

demo: .venv/run  ## Start a market on this machine, take the tour, rent a real container.
	@$(BIN)/openclore demo

cluster: .venv/dev  ## Try a market as a cluster: PostgreSQL, Valkey, two processes, nginx; Ctrl-C ends it.
	@$(BIN)/python tools/cluster.py

test: .venv/dev  ## Pass the suite; what can't run here is skipped with its reason.
	@$(BIN)/pytest -n 4 $(ARGS)

check: .venv/dev  ## Formatting, lint, types, import directions, purity of the rules, generated code.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/purity.py
	@$(BIN)/python tools/unasync.py --check
	@$(BIN)/python tools/api_docs.py --check

bench: .venv/dev  ## Our figures against a peer or a floor in the same run.
	@$(BIN)/python -m bench $(ARGS)

crash: .venv/dev  ## Kill a market under load 200 times, and 100 times with its PostgreSQL; check its books each time.
	@$(BIN)/python -m tests.crash $(ARGS)

format: .venv/dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit("OpenClore needs Python 3.11 or newer, $(PYTHON) is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# One stamp for each set of packages; a larger set serves for a smaller one.
.venv/run: .venv/bin/uv pyproject.toml uv.lock
	@echo "Setting up .venv (once) ..."
	$(call sync,--no-default-groups)
	@touch $@

.venv/dev: .venv/bin/uv pyproject.toml uv.lock
	@echo "Setting up .venv (once) ..."
	$(call sync,)
	@touch $@ .venv/run
