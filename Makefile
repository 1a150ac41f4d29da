# make demo, make test: both set up .venv first, once; make test with its own packages. Overrides:
#   PYTHON=python3.10   another interpreter (3.10 to 3.14)
#   TORCH="torch"       what pip installs as torch; by default the build for CUDA that suits the
#                       driver and the GPUs, else that for the CPU, which is some GB smaller
#   VENV=/path          another place for the environment

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ifneq ($(words $(VENV)),1)
$(error VENV is "$(VENV)": give one path without spaces)
endif
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -c GPU)

BIN := $(VENV)/bin
# Python compiles what is imported when it is: pip would compile everything, which takes longer than
# to install it.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
SOURCES := $(shell find pcdet tests -name '*.h' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cu')
# Has a Python end with a message unless pcdet runs on it.
JUDGE_PYTHON := import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 14) else \
    "Python %d.%d is of no use here: choose 3.10 to 3.14, as in make PYTHON=python3.11" % v)
NATIVE := $(wildcard pcdet/ops/*/src/* pcdet/ops/common/*)
FIRST_CALL := $(VENV)/first_call

# The demo: simulated scenes, a small SECOND, its AP and pictures; demo-pointpillar, demo-parta2 and
# demo-sassd are the same with another detector on the same scenes. The recipe of each stands in its
# yaml.
DEMO_DATA := data/synthetic
DEMO_CFG := tools/cfgs/second_demo.yaml
DEMO_EPOCHS := $(shell sed -n 's/^ *EPOCHS: *//p' $(DEMO_CFG))
DEMO_RUN := output/$(basename $(notdir $(DEMO_CFG)))/default
# Two processes on a CPU: the sparse layers keep one core busy each.
DEMO_PROCESSES := $(if $(filter 0,$(HAS_GPU)),2,1)
DEMO_RESULTS := $(DEMO_RUN)/eval/epoch_$(DEMO_EPOCHS)/val/default

# Test files run side by side in so many processes, each with one thread.
TEST_PROCESSES := 2

.PHONY: help setup setup-dev demo demo-pointpillar demo-parta2 demo-sassd test lint test-viewer test-cuda check-portable benchmark fuzz soak clean

help:
	@echo "make demo              set up, simulate scenes, train SECOND on them, score and draw it"
	@echo "make demo-pointpillar  the same with PointPillar"
	@echo "make demo-parta2       the same with Part-A2"
	@echo "make demo-sassd        the same with SA-SSD"
	@echo "make test              set up, then lint and the whole test suite"
	@echo "make setup             the environment and the operators alone; make setup-dev: and what tests need"
	@echo "make lint              ruff and clang-format"
	@echo "make test-viewer       the tests of pages and pictures; in a browser where Chromium is"
	@echo "make test-cuda         the tests that need a GPU"
	@echo "make check-portable    compile the operators with clang, and for ARM, against torch's headers"
	@echo "make benchmark         time each stage on this machine"
	@echo "make fuzz              read 2,000 damaged files of each kind: none may crash a reader"
	@echo "make soak              train 2,000 steps, and fail if memory or file handles grow"
	@echo "make clean             remove what was built and the environment"

setup: $(VENV)/.installed

$(VENV)/.torch:
	@$(PYTHON) -c '$(JUDGE_PYTHON)'
	@echo "== environment in $(VENV), with $$($(PYTHON) --version)"
	@# One that this rule has begun is made anew, as it keeps its Python; any other is left alone.
	$(PYTHON) -m venv $(if $(wildcard $(VENV)/.begun),--clear) $(VENV)
	@$(BIN)/python -c '$(JUDGE_PYTHON)' || { echo "$(VENV) is of that Python: run make clean"; exit 1; }
	@touch $(VENV)/.begun
	$(BIN)/python tools/scripts/install_torch.py $(if $(TORCH),"$(TORCH)")
	@touch $@

$(VENV)/.requirements: $(VENV)/.torch requirements.txt
	@echo "== packages"
	$(PIP) "setuptools>=70" wheel ninja -r requirements.txt
	$(BIN)/python tools/scripts/install_nvcc.py
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements setup.py pyproject.toml $(NATIVE)
	@echo "== pcdet and its native operators"
	$(PIP) --no-build-isolation --no-deps --editable .
	@echo "== what Python and numba compile at the first call"
	@rm -rf $(FIRST_CALL)
	@{ export PYTHONDONTWRITEBYTECODE= && \
	   $(BIN)/python -m pcdet.simulator --out $(FIRST_CALL) --train 1 --val 1 --test 0 && \
	   $(BIN)/python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos \
	    --data_path $(FIRST_CALL) --save_path $(FIRST_CALL) && \
	   $(BIN)/python -c "import pcdet.cli.training, pcdet.cli.testing"; } > $(FIRST_CALL).log 2>&1 || \
	    { cat $(FIRST_CALL).log; exit 1; }
	@rm -r $(FIRST_CALL) $(FIRST_CALL).log
	@touch $@

setup-dev: $(VENV)/.dev

$(VENV)/.dev: $(VENV)/.installed requirements-dev.txt
	@echo "== packages of the tests"
	$(PIP) -r requirements-dev.txt
	@touch $@

$(DEMO_DATA)/ImageSets/val.txt: | setup
	@echo "== simulated street scenes in KITTI's layout"
	$(BIN)/python -m pcdet.simulator --out $(DEMO_DATA) --train 400 --val 100 --seed 0

$(DEMO_DATA)/kitti_dbinfos_train.pkl: $(DEMO_DATA)/ImageSets/val.txt
	@echo "== infos and ground-truth database"
	$(BIN)/python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos \
	    --data_path $(DEMO_DATA) --save_path $(DEMO_DATA)

$(DEMO_RUN)/ckpt/checkpoint_epoch_$(DEMO_EPOCHS).pth: $(DEMO_DATA)/kitti_dbinfos_train.pkl
	@echo "== training; stopped and started again, it goes on from the last checkpoint"
	OMP_NUM_THREADS=1 PATH="$(abspath $(BIN)):$$PATH" bash tools/scripts/dist_train.sh $(DEMO_PROCESSES) \
	    --cfg_file $(DEMO_CFG) --workers 1 --ckpt_save_interval 1 --fix_random_seed

$(DEMO_RESULTS)/result.pkl: $(DEMO_RUN)/ckpt/checkpoint_epoch_$(DEMO_EPOCHS).pth
	@echo "== AP on the 100 frames that were held out, and pictures"
	$(BIN)/python tools/test.py --cfg_file $(DEMO_CFG) --ckpt $< --pictures 8

$(DEMO_RUN)/report.html: $(DEMO_RESULTS)/result.pkl
	@# The test has written it; this is for a test that was made before there were reports.
	@test $@ -nt $< || $(BIN)/python tools/test.py --cfg_file $(DEMO_CFG) --report

demo: setup $(DEMO_RUN)/report.html
	@cat $(DEMO_RESULTS)/report.txt
	@echo "checkpoint:  $(DEMO_RUN)/ckpt/checkpoint_epoch_$(DEMO_EPOCHS).pth"
	@echo "pictures:    $(DEMO_RESULTS)/pictures/"
	@echo "scenes:      $(DEMO_RUN)/scenes.html, in 3D"
	@echo "curves:      $(BIN)/tensorboard --logdir output"
	@echo "next:        put KITTI below data/kitti (README, \"Your own KITTI\"), then"
	@echo "             $(BIN)/python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos"
	@echo "             $(BIN)/python tools/train.py --cfg_file $(subst _demo,,$(DEMO_CFG))"
	@echo "report:      $(DEMO_RUN)/report.html: open it in a browser"

demo-pointpillar:
	@$(MAKE) --no-print-directory demo DEMO_CFG=tools/cfgs/pointpillar_demo.yaml

demo-parta2:
	@$(MAKE) --no-print-directory demo DEMO_CFG=tools/cfgs/PartA2_demo.yaml

demo-sassd:
	@$(MAKE) --no-print-directory demo DEMO_CFG=tools/cfgs/sassd_demo.yaml

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(SOURCES)

test: setup-dev lint
	@bash tools/scripts/check_cuda_compile.sh
	@bash tools/scripts/check_portable_compile.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(TEST_PROCESSES) --dist loadfile

test-viewer: setup-dev
	$(BIN)/python -m pytest -q -rs tests/viewer

test-cuda: setup-dev
	$(BIN)/python -m pytest -q -m cuda

check-portable: setup
	bash tools/scripts/check_portable_compile.sh $(BIN)/python

benchmark: setup
	$(BIN)/python tools/benchmark.py

fuzz: setup-dev
	$(BIN)/python tests/hostile/fuzz.py

soak: setup
	$(BIN)/python tools/soak.py

clean:
	rm -rf "$(VENV)" build pcdet.egg-info
	find pcdet -name '*.so' -delete
