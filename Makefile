# make demo, make test: both set up .venv first, once. Overrides:
#   PYTHON=python3.10   another interpreter (3.9 or later)
#   TORCH="torch"       what pip installs as torch; by default a CUDA build if there is an NVIDIA
#                       GPU, else the CPU build, which is some GB smaller
#   VENV=/path          another place for the environment

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_VERSION := 2.13.0
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -c GPU)
ifeq ($(HAS_GPU),0)
  ifeq ($(shell uname -s),Linux)
    # Only the CPU build has this version, so pip cannot fall back to a CUDA build.
    TORCH ?= torch==$(TORCH_VERSION)+cpu
  endif
endif
TORCH ?= torch==$(TORCH_VERSION)
CPU_WHEELS := https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := $(shell git ls-files '*.h' '*.cuh' '*.cpp' '*.cu' 2>/dev/null)
NATIVE := $(wildcard pcdet/ops/*/src/* pcdet/ops/common/*)

.PHONY: help setup test lint test-cuda benchmark clean

help:
	@echo "make test       set up, then lint and the whole test suite"
	@echo "make test-cuda  the tests that need a GPU"
	@echo "make benchmark  time each stage on this machine"
	@echo "make clean      remove what was built and the environment"

setup: $(VENV)/.installed

$(VENV)/.torch:
	@echo "== environment in $(VENV), with $$($(PYTHON) --version) and $(TORCH)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)" 2>/dev/null || $(PIP) --extra-index-url $(CPU_WHEELS) "$(TORCH)"
	@touch $@

$(VENV)/.requirements: $(VENV)/.torch requirements.txt requirements-dev.txt
	@echo "== packages"
	$(PIP) "setuptools>=70" wheel ninja -r requirements.txt -r requirements-dev.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements setup.py pyproject.toml $(NATIVE)
	@echo "== pcdet and its native operators"
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(SOURCES)

test: setup lint
	@bash tools/scripts/check_cuda_compile.sh
	$(BIN)/python -m pytest -q

test-cuda: setup
	$(BIN)/python -m pytest -q -m cuda

benchmark: setup
	$(BIN)/python tools/benchmark.py

clean:
	rm -rf $(VENV) build pcdet.egg-info
	find pcdet -name '*.so' -delete
