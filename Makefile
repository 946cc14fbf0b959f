# make demo: everything from a bare Python 3.11+ to a trained network. make test: the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test slow lint types docs clean

demo: $(VENV)/.demo
	$(BIN)/python -m deepmad_jax.main --config configs/digits.py --workdir runs/digits

test: $(VENV)/.dev lint types
	$(PYTEST)

slow: $(VENV)/.dev
	$(PYTEST) -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q docs docs/_build/html
	@echo "Open docs/_build/html/index.html."

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[train,report]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[train,report,dev]'
# By itself: it asks for torchvision, which must fit the torch at hand, and which no test needs.
	$(PIP_INSTALL) --no-deps timm
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
