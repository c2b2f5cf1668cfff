# Each target sets up what it needs in .venv; a fresh machine needs Python 3.11 or later and nothing else.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DATA ?= ../shared/data

.PHONY: setup demo test lint check bench bench-lfw clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/unveil demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

bench: $(READY)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/null_verdicts.py --runs 300

# Real faces, an hour on two cores: the tables of docs/method.md.
bench-lfw: $(READY)
	$(BIN)/python benchmarks/lfw_splits.py --data $(DATA) --work /tmp/unveil-lfw --out docs/figures/lfw_splits.csv

clean:
	rm -rf .venv unveil-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
