# Two commands do everything on a fresh machine with Python 3.11+ and make: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Byte order and thread pools must not differ between machines; one process uses one core.
export OMP_NUM_THREADS := 1
export MPLBACKEND := Agg

.PHONY: run test quick lint lab docs pythons fuzz crash lowest newest validate transfer kernels bench compare lock clean

run: $(VENV)/.installed
	$(BIN)/ktask-sim run scenarios/clear_gigantic_page.yaml

test: $(VENV)/.installed lint
	$(BIN)/pytest -n auto

# While you write: lint, types, and the tests that start no process and need no network and no host.
quick: $(VENV)/.installed lint
	$(BIN)/pytest -n auto -m "not slow and not host and not network"

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check -q
	$(BIN)/mypy
	$(BIN)/lint-imports

# Opens the notebooks in a browser.
lab: $(VENV)/.installed
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks

# The reference of all public names, from their docstrings, into reference/.
docs: $(VENV)/.installed
	$(BIN)/pdoc -d google -o reference sim real models

# Inputs at random for SECONDS, from SEED if given; what fails is kept in tests/fuzz/corpus.tsv.
SECONDS ?= 600
fuzz: $(VENV)/.installed
	$(BIN)/python -m tests.fuzz.campaign --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# Kills sweeps, searches, workers of a cluster (100 times) and real runs (50 times); says what was lost.
crash: $(VENV)/.installed
	$(BIN)/python -m tests.sweep.crash

# The quick tests with the lowest versions that pyproject.toml allows, and with the newest there are; needs uv, and its
# cache or a package index.
lowest newest: $(VENV)/.installed
	uv venv -q --allow-existing --python $(BIN)/python .venv-$@
	uv pip install -q --python .venv-$@/bin/python $(if $(filter lowest,$@),--resolution lowest-direct,--upgrade) -e '.[dev]'
	.venv-$@/bin/python -m pytest -m "not slow and not host and not network"

# All tests on each Python from 3.11 up that is on this machine.
pythons:
	@for version in 3.11 3.12 3.13 3.14; do \
	  if command -v python$$version >/dev/null; then $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "python$$version is not on this machine"; fi; \
	done

# Slow studies; their results are in VALIDATION.md.
validate: $(VENV)/.installed
	$(BIN)/python -m tests.validation.study
	$(BIN)/python -m tests.validation.coverage
	$(BIN)/python -m tests.validation.doubt
	KTASK_SIM_FITS=300 $(BIN)/pytest -n auto tests/property/test_calibration.py

# Of that, each published table predicted without any row of it.
transfer: $(VENV)/.installed
	$(BIN)/python -m tests.validation.study transfer

# Boots kernels in QEMU and writes their traces to tests/kernels/traces anew; says why where it can't.
kernels: $(VENV)/.installed
	$(BIN)/python -m tests.kernels.boot $(BOOTS)

bench: $(VENV)/.installed
	$(BIN)/python -m tests.bench

# Every run of the published table and 500 random ones against the plain engine of the tests, one by one.
compare: $(VENV)/.installed
	$(BIN)/python -m tests.reference.whole 500 100

# Writes the two lock files anew; needs uv.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  -q pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  -q --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .venv-* results reference dist
