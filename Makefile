# The steps a person runs. Each installs what it needs into .venv; a second run finds it there.
#   make demo     train a CNN on real digits, make it binary          make test    run the tests
#   make build    compile in place, while you work on the sources   make lint    formatters, linters, types
#   make bench    time tape against NumPy and, where installed, PyTorch and JAX
# PYTHON=python3.12 VENV=.venv312 make test    with another Python

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What is compiled, as in setup.py: a change here makes the next run compile again.
SOURCES := setup.py pyproject.toml tape/nn/opener.py tape/nn/state.py tape/optim/steps.py \
	$(wildcard tape/shapes.py tape/ops/*.py) \
	$(shell find tape -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]')
STUBBED := $(subst /,.,$(basename $(shell find tape -name '*.pyi')))

.PHONY: demo test build lint bench clean

demo: $(VENV)/installed-examples
	$(BIN)/python examples/mnist_cnn.py --receipt $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 $(ARGS)

build: $(VENV)/created
	$(BIN)/python setup.py --quiet build_clib build_ext --inplace

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint tape
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases --mypy-config-file pyproject.toml --allowlist .ci/stubtest-allowed.txt \
		--ignore-unused-allowlist $(STUBBED)

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks $(ARGS)

# Everything that can be made again; .venv as well.
clean:
	rm -rf build $(VENV) *.egg-info
	find tape -name '*.so' -delete

# The build requirements stand in pyproject.toml; inside the venv they serve every later build.
$(VENV)/created: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',' | xargs $(PIP)
	touch $@

# Editable, so that there is one tape: the folder `tape/` next to the tests would hide another.
$(VENV)/installed-%: $(VENV)/created $(SOURCES)
	@echo 'Installing tape[$*] into $(VENV); compiling takes one or two minutes the first time'
	$(PIP) --no-build-isolation --editable '.[$*]'
	touch $@
