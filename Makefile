# Two commands do everything, with Python and pip alone:
#   make race    make the virtual environment, install, run both experiments
#   make test    the same, then the tests
# And on other versions, each in its own virtual environment:
#   make test-torch VERSION=2.6.0    of torch
#   make test-python VERSION=3.12    of Python, without torch; with it: EXTRAS=all,test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: race test fuzz witnesses survey mutants alarms test-torch test-torch-pypi test-torch-debian test-python test-frameworks test-gpu test-browser docs lint format
.PHONY: bench clean dist

race: $(VENV)/.race
	$(BIN)/ravine race $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)
	@command -v node > /dev/null || echo 'Node is not installed: the rules were not run in JavaScript' >&2
	@test -n "$(CHROMIUM)" || command -v chromium chromium-browser > /dev/null || \
	  echo 'Chromium is not installed: the explorer and the report were not opened in it' >&2

fuzz: $(VENV)/.dev  # random rules: make fuzz SECONDS=600 SEED=1
	PYTHONPATH=tests $(BIN)/python -m random_rules $(or $(SECONDS),60) $(or $(SEED),0)

test-frameworks: $(VENV)/.frameworks
	$(BIN)/python -m pytest -m frameworks $(ARGS)

test-gpu: $(VENV)/.gpu  # kernels for GPUs, without one: assembled, and run in Triton's interpreter
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -rs -m gpu tests/engines $(ARGS)

test-browser: $(VENV)/.dev  # pages, in the Chromium that is on the PATH or in CHROMIUM
	$(BIN)/python -m pytest -rs tests/races/test_report_page.py tests/explorer $(ARGS)

# The oldest torch, on Linux as root, from Debian: for CPUs, where PyPI's is for CUDA and ten times the size.
FROM ?= $(if $(filter 2.6.0/Linux/0,$(VERSION)/$(shell uname)/$(shell id -u)),debian,pypi)

test-torch: test-torch-$(FROM)

test-torch-pypi: .venv-torch-$(VERSION)/.made
	.venv-torch-$(VERSION)/bin/python -m pytest -rs $(ARGS)

test-torch-debian: .debian/opt/ravine/.made
	scripts/in_debian.sh .debian python -m pytest -rs $(ARGS)

witnesses: .venv-peers/.made  # record the paths of released optimizers: make witnesses RULES="adam lion"
	PYTHONPATH=tests .venv-peers/bin/python -m witnesses $(RULES)

survey: .venv-peers/.surveyed  # check every optimizer of these packages, and make docs/survey.md of it
	.venv-peers/bin/ravine check --survey --seconds 5 --out survey.jsonl
	.venv-peers/bin/python scripts/make_survey.py survey.jsonl

mutants: $(VENV)/.dev  # the checker's score, on textbook optimizers with injected faults
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

alarms: $(VENV)/.dev  # correct optimizers that the checker calls wrong: make alarms ARGS="torch optax"
	PYTHONPATH=tests JAX_PLATFORMS=cpu $(BIN)/python -m false_alarms $(ARGS)

EXTRAS ?= race,test
test-python: .venv-python-$(VERSION)/.made
	.venv-python-$(VERSION)/bin/python -m pytest -rs $(ARGS)

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(VENV)/.dev  # sdist and wheel in dist/, tested as installed
	$(BIN)/python scripts/make_dist.py
	$(BIN)/python -m pytest -n 0 tests/test_dist.py

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

$(VENV)/.gpu: $(VENV)/.dev
	$(INSTALL) --editable '.[gpu]'
	touch $@

.venv-torch-%/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-torch-$*
	sed 's/^torch==.*/torch==$*/; /^triton==/d' constraints.txt > .venv-torch-$*/constraints.txt
	.venv-torch-$*/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint .venv-torch-$*/constraints.txt --editable '.[all,test]'
	touch $@

.debian/opt/ravine/.made: pyproject.toml constraints.txt scripts/in_debian.sh
	scripts/in_debian.sh .debian python3 -m venv --system-site-packages /opt/ravine
	sed '/^torch==/d' constraints.txt > .debian/opt/ravine/constraints.txt
	scripts/in_debian.sh .debian pip install --quiet --disable-pip-version-check \
	  --constraint /opt/ravine/constraints.txt --editable '.[all,test]'
	touch $@

# python3.12 from the path, or pyenv's.
.venv-python-%/.made: pyproject.toml constraints.txt
	for python in python$* $(HOME)/.pyenv/versions/$*.*/bin/python; do \
	  $$python -c '' 2> /dev/null && exec $$python -m venv .venv-python-$*; \
	done; echo 'python$* was not found: install it, or have pyenv install it' >&2; exit 1
	.venv-python-$*/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

# The packages whose optimizers are witnesses, and which `ravine bench peers` races against.
.venv-peers/.made: pyproject.toml constraints.txt scripts/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[torch]'
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --requirement scripts/peers.txt
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps timm==1.0.31
	touch $@

.venv-peers/.surveyed: .venv-peers/.made scripts/survey.txt
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement scripts/survey.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-peers .venv-torch-* .venv-python-* .debian build dist runs site src/*.egg-info
