# Two commands do everything: `make run` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
TYPES := $(VENV)/types/hardwire

# A process per core, each with whole files of tests, so that a file's fixtures are made once, and one
# thread of BLAS in each: more would wait for one another. What Python compiles is kept, whatever the
# shell says: tests start a hundred processes. Benchmarks have their own targets.
TESTS := env -u PYTHONDONTWRITEBYTECODE OPENBLAS_NUM_THREADS=1 \
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder --ignore-glob 'tests/benchmarks/*_bench.py'

.PHONY: run test quick types lint bench bench-record bench-all golden notebooks clean

run: $(STAMP)
	$(BIN)/hardwire run

test: $(DEV) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(TESTS)

# What a small change needs while it is made: a tenth of each law's examples, nothing slow, no types.
quick: $(DEV)
	$(BIN)/ruff check .
	HYPOTHESIS_PROFILE=quick $(TESTS) -m "not slow"

# The quick benchmarks against tests/benchmarks/record.json: docs/regression.md.
bench: $(DEV)
	$(BIN)/python tests/benchmarks/regression.py $(BENCH_ARGS)

# Measures five times and rewrites the record.
bench-record: $(DEV)
	$(BIN)/python tests/benchmarks/regression.py --accept

# All benchmarks, the slow ones included, without a comparison.
bench-all: $(DEV)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only --benchmark-group-by=group

# The model's predictions against tests/golden_metrics.json.
golden: $(DEV)
	$(BIN)/python -m hardwire.experiments.guard.golden $(GOLDEN_ARGS)

lint: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is written last, so that an interrupted install is done again.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Hardwire needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# mypy does not see through an editable install: links, laid each time because files come and go.
types:
	mkdir -p $(TYPES)
	ln -sfn $(addprefix ../../../,experiments kernels models simulator) $(TYPES)
	ln -sf $(addprefix ../../../,$(wildcard experiments/hardwire/*.*)) $(TYPES)

# Executes all notebooks and writes docs/notebooks/.
notebooks: $(DEV)
	$(BIN)/python notebooks/build.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
