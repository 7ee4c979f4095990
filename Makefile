# Everything a newcomer or CI runs. Needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A plugin is a distribution of its own; the repository's are installed for its tests.
PLUGINS := $(wildcard plugins/*/pyproject.toml)

# glibc gives large tensors back to the system at once, and the checks, which make many, spend a
# quarter of their time on it. Other C libraries ignore these.
MALLOC := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864

.PHONY: help train test faults partners lint format clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

train: $(STAMP)  ## train a VAE with a planar-flow posterior on the bundled digits
	$(BIN)/vaeflow train --posterior planar --objective.warmup 10

test: $(STAMP)  ## run the test suite
	$(MALLOC) $(BIN)/python -m pytest tests -n auto --dist loadfile $(PYTEST_ARGS)

# A forked child cannot train where its parent's threads serve a GPU.
faults: $(STAMP)  ## kill, starve and corrupt it in every way that the tests know, in ten minutes
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pytest tests/faults --all-faults -n auto --dist loadfile $(PYTEST_ARGS)

partners: $(STAMP)  ## run the tests of the plugins, and those with Pyro, scikit-learn, trackers and more
	$(MALLOC) $(BIN)/python -m pytest plugins tests/partners --partners -n auto --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP)  ## check style, types and the floors of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:  ## remove the environment
	rm -rf $(VENV)

$(STAMP): pyproject.toml constraints.txt $(PLUGINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"vaeflow needs Python 3.11 or newer, but $(PYTHON) is {v[0]}.{v[1]}: run make PYTHON=python3.12 (or newer)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(patsubst %/pyproject.toml,-e %,$(PLUGINS))
	@touch $(STAMP)
