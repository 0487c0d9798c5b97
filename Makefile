# Each target first creates .venv with requirements.txt. The README lists the same steps by hand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python

.PHONY: results demo test slow processors lint faults gpu
.DEFAULT_GOAL := demo

# CPU=1 installs torch without CUDA: 1 GB rather than 6.
CPU ?=
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.venv/ready: requirements.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(if $(CPU),$(PIP) torch torchvision --index-url $(CPU_WHEELS))
	$(PIP) -r requirements.txt
	touch $@

# Generate clips, train AVE-Net on them, evaluate it; then the same with AVOL-Net, initialized with AVE-Net's weights.
# If interrupted, it resumes where it stopped.
demo: .venv/ready
	$(RUN) -m docs.demo_time
	$(RUN) data/make_demo_data.py --out data/demo
	$(RUN) train_AVENet.py --config configs/demo_AVENet.py --resume --train.epochs 24 --train.low_res_until 0.6
	$(RUN) eval.py --checkpoint runs/demo_AVENet/best.pt
	$(RUN) train_VOLNet.py --config configs/demo_VOLNet.py --resume --model.init_from runs/demo_AVENet/best.pt \
		--train.epochs 8 --train.low_res_until 0.5 --train.low_res_size 80
	$(RUN) eval.py --checkpoint runs/demo_VOLNet/best.pt

# In two processes: the tests of a file share what it has trained.
test: .venv/ready
	$(RUN) -m pytest -n 2 --dist loadfile

# Train and evaluate one row of docs/results.md by its name; without NAME, list the names.
NAME ?=
results: .venv/ready
	$(RUN) -m docs.results $(if $(NAME),--name $(NAME),--list)

# Tests that take minutes, such as killing and resuming many times.
slow: .venv/ready
	$(RUN) -m pytest -m slow

# The tests of the nets with the instruction sets of older processors, on one thread and on two.
processors: .venv/ready
	for isa in AVX2 AVX512_CORE; do for threads in 1 2; do \
		ONEDNN_MAX_CPU_ISA=$$isa OMP_NUM_THREADS=$$threads $(RUN) -m pytest tests/models tests/utils \
			tests/dataset/test_frame_transforms.py tests/dataset/test_sound_transforms.py \
			tests/dataset/test_spectrogram.py tests/dataset/test_transforms.py tests/dataset/test_mixes.py || exit 1; done; done

# Thousands of bad inputs and faults, an hour or more; PART=1/20 tries every twentieth.
PART ?= 1/1
faults: .venv/ready
	$(RUN) -m tests.campaign all --part $(PART)

# Measure training on a GPU: all nets at full size, from memory and files, on all GPUs; under ten minutes.
gpu: .venv/ready
	$(RUN) -m evaluation.speed.gpu.report --json gpu.json

lint: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy .
