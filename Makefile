# Two commands do everything, with Python and pip alone:
#   make race    make the virtual environment, install, run both experiments
#   make test    the same, then the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: race test fuzz test-frameworks docs lint format bench clean

race: $(VENV)/.race
	$(BIN)/ravine race $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/.dev  # random rules: make fuzz SECONDS=600 SEED=1
	PYTHONPATH=tests $(BIN)/python -m random_rules $(or $(SECONDS),60) $(or $(SEED),0)

test-frameworks: $(VENV)/.frameworks
	$(BIN)/python -m pytest -m frameworks $(ARGS)

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.race
	$(BIN)/ravine bench diamonds $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.race: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[all]'
	touch $@

$(VENV)/.dev: $(VENV)/.race
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/.frameworks: $(VENV)/.dev
	$(INSTALL) --editable '.[frameworks]'
	touch $@

clean:
	rm -rf $(VENV) build dist runs site src/*.egg-info
