PYTHON ?= python

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow lint types check gallery docs ui clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install lrbench and everything its development needs
	$(PYTHON) -m pip install -e ".[dev]"

test:  ## the default tests, minutes
	$(PYTHON) -m pytest -n auto

test-slow:  ## the tests marked slow: real servers, kills, whole trainings
	$(PYTHON) -m pytest -m slow

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
