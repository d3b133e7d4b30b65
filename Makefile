# The Python at hand where lrbench is installed for development; otherwise that of .venv, which is made when needed.
AT_HAND := $(shell python -c "from importlib.metadata import version as v; v('lr-schedule-bench'); v('pytest')" 2>/dev/null && echo python)
PYTHON ?= $(or $(AT_HAND),.venv/bin/python)
INSTALLED := $(if $(filter .venv/bin/python,$(PYTHON)),.venv/installed)

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-slow test-all lint types check gallery docs ui clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo test test-slow test-all lint types gallery docs ui: $(INSTALLED)

.venv/installed: pyproject.toml
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install -e ".[dev]"
	touch $@

demo:  ## train the default, on a fresh machine too, and say where to look
	$(PYTHON) -m lrbench
	@echo "Everything about this run is in the folder named at 'record'; 'make ui' shows it in the browser."

setup:  ## install lrbench and everything its development needs into the Python at hand
	python -m pip install -e ".[dev]"

test:  ## the default tests, minutes; on a fresh machine too
	$(PYTHON) -m pytest -n auto

test-slow:  ## the tests marked slow: real servers, kills, whole trainings
	$(PYTHON) -m pytest -n auto -m slow

test-all:  ## both in one go, as continuous integration does
	$(PYTHON) -m pytest -n auto -m "slow or not slow"

lint:  ## ruff: style and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:  ## mypy on lrbench/
	$(PYTHON) -m mypy

check: lint types test  ## lint, types and default tests

gallery:  ## draw docs/gallery.md anew from conf/scheduler
	$(PYTHON) scripts/gallery.py

docs:  ## build the documentation into site/, without a network; open site/index.html
	$(PYTHON) scripts/reference.py docs/reference
	$(PYTHON) -m zensical build --strict --clean

ui:  ## look at results/mlflow.db in the browser; make ui PORT=5001 takes another port
	$(PYTHON) -m lrbench ui $(if $(PORT),port=$(PORT))

clean:  ## remove caches and builds, never results
	rm -rf build dist site docs/reference .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
