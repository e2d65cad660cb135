# Every target makes its own .venv first, and installs again only when the requirements have changed.
PYTHON := $(or $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done),python3)
VENV := .venv/bin/python
export NO_ALBUMENTATIONS_UPDATE := 1
ifdef SEGMENTATION_DATA
export SEGMENTATION_DATA := $(abspath $(SEGMENTATION_DATA))
endif

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: install  ## train the first notebook's U-Net (about 5 minutes), show its score and a picture
	@$(VENV) tools/run.py 00_start_here

run: install  ## one notebook headless: make run NOTEBOOK=00_start_here ARGS="-p dataset camvid -p epochs 40"
	@$(VENV) tools/run.py "$(NOTEBOOK)" $(ARGS)

lab: install  ## JupyterLab on notebooks/
	@cd notebooks && ../$(VENV) -m jupyterlab

test: install-dev  ## every test: unit, reference, all notebooks
	$(VENV) -m pytest

notebooks: install-dev  ## the notebooks alone, on tiny data
	$(VENV) -m pytest tests/test_notebooks.py

bench: install-dev  ## speed and memory, as ratios measured in one run
	PYTHONPATH=notebooks $(VENV) -m tests.benchmarks

compare: install-dev  ## recipes against each other, seed by seed: make compare LIST=camvid_encoder
	@PYTHONPATH=notebooks $(VENV) -m tests.benchmarks.compare "$(LIST)"

bench-peers: install-dev  ## our recipe against two others on the real CamVid, an hour and more
	PYTHONPATH=notebooks $(VENV) -m tests.benchmarks.peers

parity: install-dev .parity/installed  ## the ten segmentors against MMSegmentation: same weights, same logits
	@PYTHONPATH=notebooks:.parity $(VENV) -m tests.parity

bench-segmentors: install-dev .parity/installed  ## their speed and memory against MMSegmentation's
	@PYTHONPATH=notebooks:.parity $(VENV) -m tests.parity.speed

lint: install-dev  ## ruff, over the notebooks too
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

format: install-dev  ## let ruff rewrite what lint complains about
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

results: install  ## rebuild the README's tables from notebooks/ and results/
	$(VENV) tools/stamp.py

stamp: install  ## write the repository's address (pyproject.toml) into badges and bootstrap cells
	$(VENV) tools/stamp.py

figures: install  ## draw the README's pictures again (after make quickstart)
	$(VENV) tools/figures.py

clean:  ## remove .venv, .parity and runs/
	rm -rf .venv .parity runs

.parity/installed: tests/parity/requirements.txt | install-dev
	@$(VENV) -m pip install --quiet --no-deps --upgrade --target .parity -r $<
	@rm -rf .parity/tests && touch $@

install:
	@$(PYTHON) tools/install.py requirements.txt

install-dev:
	@$(PYTHON) tools/install.py requirements-dev.txt

.PHONY: help quickstart run lab test notebooks bench compare bench-peers bench-segmentors parity lint format results stamp figures clean install install-dev
