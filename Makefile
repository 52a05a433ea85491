# `make` alone lists the targets. With another Python than python3: make setup PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help setup backends demo test check format clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## create .venv and install autobatch and its tools into it, once

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit( \
		"autobatch needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d.%d." % v[:3] \
		+ "\nName another: make setup PYTHON=python3.12")'
	@echo "Installing into .venv: about a minute, 2 GB on disk ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

backends: setup ## install JAX and PyTorch beside TensorFlow: `make test` then asks all three
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt jax torch

demo: setup ## see a batch size and a learning rate recommended for a small network
	$(BIN)/autobatch recommend recipes/digits_mlp.yaml

test: setup ## run all tests
	$(BIN)/pytest -n 2

check: setup ## lint, format and types, the tests of architecture and README, and that all tests import
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py tests/test_readme.py
	$(BIN)/pytest -qq --collect-only

format: setup ## format the code and apply the linter's safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv, caches and build artefacts; autobatch-runs/ stays
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
