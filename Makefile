# Every command of this project; `make` alone lists them. Nothing has to be installed by hand first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COLLABORATION := .venv-collaboration
EXAMPLES := $(patsubst %/pyproject.toml,%,$(wildcard examples/*/pyproject.toml))
RUN := .cloudcontents-run
# JupyterLab refuses to start as root unless told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help run rig test test-long test-live capabilities check docs build format clean

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "make %-12s %s\n", $$1, $$2 }'

run: $(VENV)/.for-run ## Open JupyterLab on a bucket in ./.cloudcontents-run (make run ARGS="--no-browser")
	@mkdir -p $(RUN)/bucket
	$(BIN)/cloudcontents lab "$$($(BIN)/python -c 'import pathlib; print(pathlib.Path("$(RUN)/bucket").resolve().as_uri())')" $(AS_ROOT) $(ARGS)

rig: $(VENV)/.for-test ## Run MinIO, fake-gcs-server, Azurite, moto, Toxiproxy and tusd, with a bucket ready on each store
	@PYTHONPATH=tests $(BIN)/python -m rig

test: $(VENV)/.for-test $(COLLABORATION)/.for-test ## Run every test
	@.ci/chromium
	@PYTHONPATH=tests $(BIN)/python -m rig install
	.ci/test

test-long: $(VENV)/.for-test ## Run the tests that take minutes each
	@.ci/chromium
	@PYTHONPATH=tests $(BIN)/python -m rig install
	.ci/test long

test-live: $(VENV)/.for-test ## Run the suites on real accounts (docs/live.md says how)
	$(BIN)/python -m pytest tests/live/suites.py $(ARGS)

capabilities: $(VENV)/.for-test ## Run the conformance suite and write docs/capabilities.md
	@PYTHONPATH=tests $(BIN)/python -m rig install
	@mkdir -p test-results
	$(BIN)/python -m pytest -q tests/backends -k '(TestMemory or TestLocal or TestMinio or TestMoto or TestGcs or TestAzurite) and not Manager' \
	    --cloudcontents-report=test-results/capabilities.json
	$(BIN)/python tests/docs/capabilities.py test-results/capabilities.json > docs/capabilities.md

check: $(VENV)/.for-check ## Format, lint, strict types, docs build
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.for-check ## Format the code and fix what the linter can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.for-check ## Serve the docs site on this machine while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

build: $(VENV)/.for-build ## Build the sdist and the wheel into dist/
	$(BIN)/python -m build

clean: ## Remove environments, caches and build results (never a bucket)
	rm -rf $(VENV) $(COLLABORATION) build dist site test-results .mypy_cache .pytest_cache .ruff_cache .hypothesis

# --- environments; each stamp is as new as what it was made from, so that a second run is quick

$(VENV)/.made: .ci/venv
	@PYTHON=$(PYTHON) .ci/venv $(VENV)
	@touch $@

$(COLLABORATION)/.made: .ci/venv
	@PYTHON=$(PYTHON) .ci/venv $(COLLABORATION)
	@touch $@

$(VENV)/.for-run: $(VENV)/.made pyproject.toml
	$(PIP) install -e '.[lab]'
	@touch $@

$(VENV)/.for-test: $(VENV)/.made pyproject.toml $(addsuffix /pyproject.toml,$(EXAMPLES))
	$(PIP) install -e '.[all,lab,notebook,testing]' --group test --group build $(addprefix -e ./,$(EXAMPLES))
	@touch $@

$(VENV)/.for-check: $(VENV)/.made pyproject.toml
	$(PIP) install -e '.[all,lab,notebook,testing]' --group check --group docs
	@touch $@

$(VENV)/.for-build: $(VENV)/.made pyproject.toml
	$(PIP) install --group build
	@touch $@

# jupyter-collaboration is a server extension that switches itself on; it gets an environment of its own.
$(COLLABORATION)/.for-test: $(COLLABORATION)/.made pyproject.toml
	$(PIP:$(BIN)/%=$(COLLABORATION)/bin/%) install -e . --group collaboration
	@touch $@
