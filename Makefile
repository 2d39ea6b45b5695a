# make demo    train two small models on real text, English and Chinese, and let them write
# make test    the test suite, on the CPU; make test-gpu: what a GPU is needed for
#
# Both set up `.venv` by themselves. Variables:
#   PYTHON       the Python to use (3.11 or later)
#   PIP_OPTIONS  more options for pip, such as --index-url for the CPU build of torch:
#                make demo PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   DEMO         recipes of the demo: DEMO=demo-zh for Chinese only

PYTHON ?= python3
PIP_OPTIONS ?=
DEMO ?= demo-en demo-zh
BIN := .venv/bin
# The tests are small: a thread each, several files at a time.
PYTEST := CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
PIP := $(BIN)/pip --disable-pip-version-check install --quiet $(PIP_OPTIONS) -c constraints.txt

.PHONY: demo test test-all test-gpu lint bench clean

demo: .venv/installed
	@for recipe in $(DEMO); do \
	  $(BIN)/xunlian train $$recipe || exit $$?; \
	done

test: .venv/developing
	$(PYTEST)

test-all: .venv/developing
	$(PYTEST) -m "slow or not slow"

test-gpu: .venv/developing
	$(BIN)/python -m pytest tests/test_on_gpu.py

lint: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/developing
	$(BIN)/python benchmarks/run.py

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Xunlian needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing Xunlian into .venv (a few minutes the first time) ..."
	$(PIP) -e .
	@touch $@

.venv/developing: .venv/installed
	$(PIP) -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist
