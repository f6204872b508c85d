# demo · test · check · bench      everything happens in .venv, or in an active environment that fits
PYTHON ?= python3
VENV := $(if $(and $(VIRTUAL_ENV),$(shell "$(VIRTUAL_ENV)/bin/python" -c "import sys, runpy; sys.argv = ['fits']; runpy.run_path('.ci/fits.py', run_name='__main__')" 2>/dev/null)),$(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.safeft-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: demo test check bench

demo: $(STAMP)  ## compare the recipes on the embedded model; a second run resumes
	$(BIN)/safeft compare benchmarks/demo.yaml --output runs/demo

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest

check: $(STAMP)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the committed benchmark: hours; resumable
	$(BIN)/safeft compare benchmarks/main/matrix.yaml --output runs/main

$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,report,dev]'
	touch $@
