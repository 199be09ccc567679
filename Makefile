# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST := $(VENV)-oldest
# CUDA major version of DALI: 12 (also right for machines without a GPU) or 13. One build an environment.
CUDA ?= 12
# Processes of the test suite: one a core, but no more than four, as each holds torch and DALI (1.5 GiB).
WORKERS ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-bfloat16 test-oldest test-slow check format gpu-check docs clean

# Options by ARGS, as in `make gpu-check ARGS='--out check-2 --only sweep,loops'`.
gpu-check: $(VENV)/.installed-dev
	$(BIN)/python tools/gpu_check.py $(ARGS)

demo: $(VENV)/.installed
	$(BIN)/fastpath demo -o demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS)

# The suite takes this CPU to have no bfloat16, whatever it has; here, to have it (torch emulates it where it has not).
test-bfloat16: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS) --bfloat16 yes

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

# The suite with every dependency at its lower bound, in an environment of its own (uv, since pip cannot resolve downwards).
# What those depend on is the newest and tells them that their calls are old: not our warnings to mend.
# Python 3.11 has wheels of all: make test-oldest PYTHON=python3.11 OLDEST_TESTS="tests/data tests/engine"
test-oldest: $(OLDEST)/.installed-dev
	$(OLDEST)/bin/python -m pytest -W ignore::DeprecationWarning -W ignore::FutureWarning $(OLDEST_TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation as a site, in .site/; a warning ends it. Its source is a folder of links, so that the pages' own
# links hold there as they do in the repository.
docs: $(VENV)/.installed-dev
	$(BIN)/python tools/render_cli.py
	rm -rf .site-source
	mkdir -p .site-source/benchmarks
	ln -s ../docs ../README.md ../CONTRIBUTING.md ../SECURITY.md ../CHANGELOG.md ../examples .site-source/
	ln -s ../../benchmarks/records .site-source/benchmarks/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

$(OLDEST)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		--compile-bytecode --editable '.[dev]'
	touch $@

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
	rm -rf $(VENV) $(OLDEST) demo .site .site-source .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
