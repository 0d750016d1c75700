# Needs Python 3.11 or later with pip, and make: no uv, no ensurepip. All that it installs goes into .venv.

PYTHON ?= python3
BIN    := .venv/bin

# pip from outside works on the environment within: Debian's python3 comes without ensurepip, and its pip is not to be upgraded.
# Compiling on install costs more than it saves here; Python compiles what it imports. Two -q leave only errors.
PIP = $(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install -qq --no-compile -c constraints.txt

# What each step says before it starts: one line.
say = @printf '%-9s %s\n'

.DEFAULT_GOAL := help
.PHONY: help demo sandbox test slow e2e screenshots coverage lint types layers docs bench format clean

help:  ## this list
	@sed -n 's/^\([a-z0-9]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name meaning; do printf '  make %-10s %s\n' "$$name" "$$meaning"; done

demo: .venv/.has-demo  ## two shops, a Customer.io that fails, and the proof that nothing was lost
	@$(BIN)/python -m examples.demo

sandbox: .venv/.has-sandbox  ## start the local Customer.io; it prints what arrives
	@$(BIN)/cio-middleware sandbox

# Not under coverage: tracing slows every line, and some tests hold deadlines. tests/typing needs the type checkers, which
# are large: `make types` runs it.
test: .venv/.has-test .venv/judge/.ready  ## everything that needs no browser and no Redis
	@$(BIN)/python -m pytest -q --ignore=tests/typing $(PYTEST)

slow: .venv/.has-test  ## the same faults many more times, and the servers on the spool
	@$(BIN)/python -m pytest -q --ignore=tests/typing -m slow $(PYTEST)

e2e: .venv/.has-e2e  ## the sandbox's page in a real browser; needs chromium (Debian: apt install chromium)
	@$(BIN)/python -m pytest -q -m e2e tests/e2e $(PYTEST)

screenshots: .venv/.has-e2e  ## the pictures in docs/images, taken anew
	@$(BIN)/python -m pytest -q -m e2e tests/e2e/test_screenshots.py --screenshots=docs/images

# From outside pytest: a plugin of ours is imported before one that measures could start.
coverage: .venv/.has-test .venv/judge/.ready  ## the same tests, and the branches that none of them took
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q --ignore=tests/typing $(PYTEST)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

lint: .venv/.has-lint  ## style, with a docstring on every test, and spelling
	$(say) ruff "rules"
	@$(BIN)/ruff check -q
	$(say) ruff "format"
	@$(BIN)/ruff format -q --check
	$(say) codespell "spelling"
	@$(BIN)/codespell

types: .venv/.has-lint  ## mypy, strict, and pyright, as editors use it
	$(say) mypy "the package, its tests and examples"
	@$(BIN)/mypy --no-error-summary
	$(say) pyright "the package, as its users' editors see it"
	@$(BIN)/pyright --pythonpath $(BIN)/python
	$(say) uses "right and wrong ones, as both see them"
	@$(BIN)/python -m pytest -q tests/typing

layers: .venv/.has-test  ## who may import whom
	$(say) layers "the drawing in pyproject.toml"
	@report=$$($(BIN)/lint-imports --no-logo) || { echo "$$report"; exit 1; }

docs: .venv/.has-test  ## every link leads somewhere, every block runs, every table is true
	$(say) docs "README.md and docs/"
	@$(BIN)/python -m pytest -q tests/architecture/test_links.py tests/docs

bench: .venv/bench/.ready  ## the numbers that the documentation quotes
	@.venv/bench/bin/python -m benchmarks $(BENCH)

# The peers have an environment of their own: one brings a package named like Customer.io's own SDK, which the tests use.
.venv/bench/.ready: BIN := .venv/bench/bin
.venv/bench/.ready: pyproject.toml constraints.txt benchmarks/requirements.txt | .venv/bin/python
	$(say) install "the libraries to compare with, into .venv/bench; once"
	@$(PYTHON) -m venv --without-pip .venv/bench
	@$(PIP) -e '.[flask]' -r benchmarks/requirements.txt
	@touch $@

# The same for the package that judges the sandbox's Pipelines: it is named like the SDK that the tests use.
.venv/judge/.ready: BIN := .venv/judge/bin
.venv/judge/.ready: constraints.txt tests/integration/sandbox/judge.txt | .venv/bin/python
	$(say) install "Customer.io's package for Pipelines, into .venv/judge; once"
	@$(PYTHON) -m venv --without-pip .venv/judge
	@$(PIP) -r tests/integration/sandbox/judge.txt
	@touch $@

format: .venv/.has-lint  ## rewrite the code as `make lint` wants it
	@$(BIN)/ruff check -q --fix-only
	@$(BIN)/ruff format -q

clean:  ## forget the environment and all that tools left behind
	@rm -rf .venv .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras. It lies in .venv, so it goes when the environment goes.
EXTRAS_lint := test,lint
.venv/.has-%: pyproject.toml constraints.txt | $(BIN)/python
	$(say) install "what this needs, into .venv; once"
	@$(PIP) -e '.[$(or $(EXTRAS_$*),$*)]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or later with pip (Debian: apt install python3 python3-pip)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V). Install Python 3.11 or later, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import pip; assert tuple(map(int, pip.__version__.split(".")[:2])) >= (22, 3)' 2>/dev/null || { echo "$(PYTHON) has no pip of 22.3 or later. Install it (Debian: apt install python3-pip)."; exit 1; }
	@$(PYTHON) -m venv --without-pip .venv
