# make help lists the targets. Everything happens in .venv; PYTHON chooses the interpreter that makes it.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

.venv/done: setup.py settings.ini
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[all,docs,dev]'
	touch $@

venv: .venv/done ## make .venv and install everything into it

demo: venv      ## train SCGAN on synthetic faces for about 3 minutes, pictures in out/demo
	OMP_NUM_THREADS=$(JOBS) $(BIN)/scgan_demo

test: venv check docs ## notebooks and library in step, the website, every notebook, every test
	$(BIN)/nbdev_test --n_workers $(JOBS)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests --ignore tests/browser
	$(MAKE) test-browser

test-browser: venv ## the studios in a real JupyterLab and a real Chromium; skipped where there is none
	$(BIN)/python -m pytest -q tests/browser

check: venv     ## notebooks, library and README tell the same; notebooks are clean
	$(BIN)/python -m tests.in_step

export: venv    ## notebooks -> scgan_nb/ and README.md
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python -m tests.readme

docs: venv      ## the website in _docs/, from the notebooks; the first time it needs npm, which fetches MathJax
	$(BIN)/python nbs/_website/build.py

lab: venv       ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab nbs

bench: venv     ## measure speed; ratios within one run
	OMP_NUM_THREADS=$(JOBS) $(BIN)/python -m tests.bench

wheel: venv     ## dist/*.whl
	$(BIN)/python -m build --wheel

.PHONY: help venv demo test test-browser check export docs lab bench wheel
