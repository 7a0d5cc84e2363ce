# Everything a working copy needs: Python 3.11 or newer, make and git. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
  echo "phigate needs Python 3.11 or newer, and '$(PYTHON)' is not; say which with" \
    "make PYTHON=/path/to/python3.11" >&2; exit 1; }

# Built once, and again when what is installed has changed.
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-nightly check lint wheel docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PYTHON=... chooses the interpreter (3.11 or newer); now: $(PYTHON)"

venv: $(STAMP)  ## the virtual environment in .venv, with everything pinned by constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit,dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## train an over-trained and a sound model on synthetic patients and audit both
	$(BIN)/phigate demo

# One thread each: threads that wait for one another's core make small models twice as slow.
test: $(STAMP)  ## the tests, three files at a time
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-nightly: $(STAMP)  ## the same with ten times the examples of every property
	PHIGATE_NIGHTLY=1 $(MAKE) test

check: lint test wheel  ## what has to pass before a change lands

lint: $(STAMP)  ## format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The wheel goes into an environment of its own, which then borrows the dependencies of .venv by a
# path file: nothing is downloaded twice, and what the wheel forgot to carry is still missed, because
# path files inside a borrowed folder, such as that of the working copy, are not read.
WHEEL  := build/wheel
FRESH  := $(WHEEL)/venv/bin/python
wheel: $(STAMP)  ## build the wheel and try it outside the working copy
	rm -rf $(WHEEL)
	$(BIN)/python -m build --wheel --no-isolation --outdir $(WHEEL) . >/dev/null
	$(BIN)/python -m venv $(WHEEL)/venv
	$(FRESH) -m pip install --quiet --disable-pip-version-check --no-deps --no-index $(WHEEL)/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(FRESH) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	mkdir $(WHEEL)/empty
	cd $(WHEEL)/empty \
	  && ../venv/bin/python -c 'import sys, checker; sys.exit(not checker.__file__.startswith(sys.prefix))' \
	  && ../venv/bin/phigate --version \
	  && ../venv/bin/phigate init \
	  && ../venv/bin/phigate validate policy.yaml target.yaml

# The site is built from the sources alone, so its environment holds neither phigate nor PyTorch.
SITE   := .venv-docs
docs: $(SITE)/.installed  ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

$(SITE)/.installed: pyproject.toml constraints.txt
	@$(NEW_ENOUGH)
	$(PYTHON) -m venv --clear $(SITE)
	$(SITE)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(SITE)/wanted.txt
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(SITE)/wanted.txt
	@touch $@

clean:  ## remove what make made, but not runs/
	rm -rf $(VENV) $(SITE) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
