# Nothing but Python 3.11 or newer is needed: every target sets up .venv first, with what it needs and no more.
#   make demo PYTHON=python3.12                                            another interpreter
#   make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu     the small CPU build of torch (Linux)
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
WORKERS ?= 2

SETTINGS := $(VENV)/pyvenv.cfg setup.cfg pyproject.toml constraints.txt
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
SITE := .cache/site

.PHONY: help demo test lint docs notebooks train-tiny clean

help:
	@echo "make demo        heatmaps, scores and explanations for examples/images, into demo-output/"
	@echo "make test        all tests, in two processes (ARGS='-k name' for some of them, WORKERS=0 for one process)"
	@echo "make lint        ruff: rules and format"
	@echo "make docs        all pages and the API reference, links checked, into $(SITE)/"
	@echo "make notebooks   run examples/notebooks/; the files stay as they are"
	@echo "make train-tiny  train the embedded model again, from scratch; resumes where it stopped"
	@echo "make clean       remove what these made, except .venv"

demo: $(VENV)/installed
	@$(VENV)/bin/heie predict examples/images --output-dir demo-output
	@echo "pictures: demo-output/" >&2

# one thread each: the tests' models are so tiny that a second one only costs
test: $(VENV)/installed-dev
	@$(RUN) tests/transformers_common/fetch.py
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# The site is built from copies that lie as in the checkout, so that a link which works there works here; the package
# is copied as it is once installed, so that the reference has the names that are imported.
docs: $(VENV)/installed-docs
	@rm -rf $(SITE) $(SITE)-pages $(SITE)-package
	@mkdir -p $(SITE)-pages $(SITE)-package
	@cp -r *.md LICENSE CITATION.cff docs examples benchmarks $(SITE)-pages
	@cp -r heie_hf $(SITE)-package
	@cp -r modeling processing $(SITE)-package/heie_hf
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --site-dir $(SITE)

notebooks: $(VENV)/installed-docs
	HF_HUB_OFFLINE=1 $(VENV)/bin/jupyter-execute --timeout 300 examples/notebooks/*.ipynb

train-tiny: $(VENV)/installed-dev
	@$(RUN) examples/train_tiny.py $(ARGS)

clean:
	rm -rf .cache .pytest_cache .ruff_cache build dist demo-output *.egg-info
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed: make PYTHON=...')"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SETTINGS)
	@echo "installing into $(VENV); the first time this takes a few minutes" >&2
	@$(INSTALL) .
	@touch $@

# an extra of setup.cfg
$(VENV)/installed-%: $(SETTINGS)
	@echo "installing into $(VENV), with what '$*' needs; the first time this takes a few minutes" >&2
	@$(INSTALL) '.[$*]'
	@touch $@ $(VENV)/installed
