# `make demo` and `make test` need nothing but Python 3.11 or newer: both set up .venv first.
#   make demo PYTHON=python3.12                                            another interpreter
#   make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu     the small CPU build of torch (Linux)
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

INSTALLED := $(VENV)/installed-from-setup.cfg

.PHONY: help demo test lint train-tiny clean

help:
	@echo "make demo        heatmaps, scores and explanations for examples/images, into demo-output/"
	@echo "make test        all tests (ARGS='-k name' for some of them)"
	@echo "make lint        ruff: rules and format"
	@echo "make train-tiny  train the embedded model again, from scratch; resumes where it stopped"
	@echo "make clean       remove what these made, except .venv"

demo: $(INSTALLED)
	@$(VENV)/bin/heie predict examples/images --output-dir demo-output
	@echo "pictures: demo-output/" >&2

# one thread: the tests' models are so tiny that a second one only costs
test: $(INSTALLED)
	@$(RUN) tests/transformers_common/fetch.py
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(RUN) -m pytest -q $(ARGS)

lint: $(INSTALLED)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

train-tiny: $(INSTALLED)
	@$(RUN) examples/train_tiny.py $(ARGS)

clean:
	rm -rf .cache .pytest_cache .ruff_cache build dist demo-output *.egg-info
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed: make PYTHON=...')"
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/pyvenv.cfg setup.cfg pyproject.toml constraints.txt
	@echo "installing into $(VENV); the first time this takes a few minutes" >&2
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
