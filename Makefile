# run    trains a small CNN on handwritten digits and writes its curves, predictions and model to demo/
# test   runs the whole test suite; ARGS="tests/layers -k dense" narrows it
# parity compares ops, layers, losses, metrics and optimizers with the real Keras (long); ARGS="add conv fit" runs some
# interop carries every layer and kind of model to the real Keras and back, in every kind of file (minutes)
# check  runs the linters, the type checker and the architecture checks
# pictures makes every kind of picture, and screenshots where chromium is found, in pictures/ (about a minute)
# bench  measures lamina and its peers; ARGS="mlp lstm --quick" measures some, ARGS="--help" says more
# Each target sets up .venv by itself, once per change of pyproject.toml or constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test parity interop check format pictures bench clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ARGS ?=

run: .venv/.has-plot
	$(BIN)/lamina demo --out demo $(ARGS)

test: .venv/.has-check
	KERAS_BACKEND=torch OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

parity: .venv/.has-check
	OMP_NUM_THREADS=1 $(BIN)/python tools/parity.py $(ARGS)

interop: .venv/.has-check
	OMP_NUM_THREADS=1 $(BIN)/python tools/interop.py $(ARGS)

check: .venv/.has-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	PYTHONPATH=src $(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_style.py
	$(BIN)/python tools/errors.py

format: .venv/.has-check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pictures: .venv/.has-check
	OMP_NUM_THREADS=1 $(BIN)/python tools/pictures.py --out pictures $(ARGS)

bench: .venv/.has-peers
	.venv/peers/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv demo pictures .pytest_cache .ruff_cache .import_linter_cache

# The peers have an environment of their own, for they ask for other versions than the tests. Each of them is optional.
.venv/.has-peers: pyproject.toml constraints.txt benchmarks/requirements.txt
	test -x .venv/peers/bin/python || $(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet "$$(grep ^torch== constraints.txt)"
	.venv/peers/bin/python -m pip install --quiet -e '.[bench]'
	grep -v '^#' benchmarks/requirements.txt | while read -r peer; do \
	    .venv/peers/bin/python -m pip install --quiet "$$peer" || echo "$$peer cannot be installed here"; \
	done
	touch $@

# torch goes in first, at its pinned version, so that no later package can pull in another build of it.
.venv/.has-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$*]'
	touch $@
