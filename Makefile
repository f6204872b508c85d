# demo · test · check · bench      everything happens in .venv, or in an active environment that fits
PYTHON ?= python3
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
FITS := $(if $(ACTIVE),$(shell "$(ACTIVE)/bin/python" .ci/fits.py 2>/dev/null))
ifeq ($(FITS),fits)
# Nothing is installed into somebody else's environment: safeft itself is read from this folder.
BIN := $(ACTIVE)/bin
STAMP :=
export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
else
BIN := .venv/bin
STAMP := .venv/.safeft-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
endif

.PHONY: demo test check bench

demo: $(STAMP)  ## compare the recipes on the embedded model; a second run resumes
	$(BIN)/python -m safeft compare benchmarks/demo.yaml --output runs/demo

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest

check: $(STAMP)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the committed benchmark: hours; resumable
	$(BIN)/python -m safeft compare benchmarks/main/matrix.yaml --output runs/main

ifneq ($(STAMP),)
$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,openai,report,dev]'
	touch $@
endif
