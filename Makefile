# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CUDA major version of DALI: 12 (also right for machines without a GPU) or 13. One build an environment.
CUDA ?= 12

.PHONY: demo test test-slow check format gpu-check docs clean

gpu-check: $(VENV)/.installed-dev
	$(BIN)/python tools/gpu_check.py

demo: $(VENV)/.installed
	$(BIN)/fastpath demo -o demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev
	$(BIN)/python tools/render_cli.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "fastpath: found Python %d.%d, wanted 3.11 to 3.13; run make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
ifeq ($(CUDA),13)
	$(BIN)/python -m pip uninstall --quiet --yes nvidia-dali-cuda120
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps nvidia-dali-cuda130
endif
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
