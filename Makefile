# Every target creates what it needs: a virtual environment in .venv, and for the demo an AiiDA
# profile in .demo. Nothing outside this folder is touched.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 4
TORCH  ?= torch==2.13.0

BIN := $(VENV)/bin
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test docs lint format clean
.DEFAULT_GOAL := test

demo: $(VENV)/.installed
	mkdir -p .demo/.aiida
	AIIDA_PATH="$(CURDIR)/.demo" $(BIN)/aiida-mlal demo

test: $(VENV)/.installed-tests
	$(ONE_THREAD) $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

docs: $(VENV)/.installed-docs
	rm -rf docs/_build/aiida
	$(ONE_THREAD) AIIDA_PATH="$(CURDIR)/docs/_build/aiida" \
		$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .demo docs/_build build dist *.egg-info

# One environment for all: an extra is added to it when a target first asks for it.
$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-%: $(VENV)/.python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
