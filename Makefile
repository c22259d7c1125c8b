PYTHON ?= python3.11
BIN := .venv/bin

PYTHON_NEEDED := Python 3.11 is needed: install it, or say where it is: make PYTHON=/path/to/python3.11
HAS_PYTHON = command -v $(PYTHON) >/dev/null || { echo "$(PYTHON_NEEDED) $(MAKECMDGOALS)"; exit 1; }

.PHONY: help demo test fuzz lint docs mutants bench needed servers kafka flink s3 spark chaos bench-live bench-serve bench-governance bounds
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: .venv/.ready ## run the sample session and show the result
	@$(BIN)/affectstream demo

# Two threads of torch in each of three processes wait for one another.
test: export OMP_NUM_THREADS = 1
test: needed .venv/.ready servers lint ## lint, then all tests, three files at a time: many wait for servers
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 25

fuzz: TESTS ?= tests
fuzz: .venv/.ready ## random examples for the property tests; TESTS=tests/transforms for some of them
	@$(BIN)/python -m pytest -m hypothesis --hypothesis-profile fuzz --hypothesis-show-statistics $(TESTS)

needed: # said before the environment is made, which takes minutes
	@$(HAS_PYTHON)
	@$(PYTHON) infra/processes.py

servers: needed .venv/.ready
	@$(BIN)/python -m infra.kafka.kafka_server fetch
	@$(BIN)/python -m infra.flink.flink_server fetch
	@$(BIN)/python -m infra.s3.s3_server fetch
	@$(BIN)/python -m infra.spark.spark_jars
	@$(BIN)/python -m examples.avatar.packages

kafka: DO ?= start
kafka: .venv/.ready ## start a broker on this machine; DO=fetch, status or stop
	@$(BIN)/python -m infra.kafka.kafka_server $(DO)

flink: DO ?= fetch
flink: .venv/.ready ## fetch the Flink runner; DO=start, status or stop a cluster
	@$(BIN)/python -m infra.flink.flink_server $(DO)

s3: DO ?= start
s3: .venv/.ready ## start an S3 store on this machine; DO=fetch, status or stop
	@$(BIN)/python -m infra.s3.s3_server $(DO)

spark: .venv/.ready ## fetch Delta Lake's jars for Spark
	@$(BIN)/python -m infra.spark.spark_jars

bench-live: servers ## measure the live path, write docs/benchmarks
	@$(BIN)/python -m infra.bench.live

chaos: servers ## 60 kills of all that can die, checked against the log
	@$(BIN)/python -m tests.faults.chaos 60

lint: .venv/.ready ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

mutants: ONLY ?=
mutants: .venv/.ready ## which changes of the code no test sees; ONLY="transforms.window*" for some
	@$(BIN)/mutmut run --max-children 1 $(ONLY)

docs: .venv/.ready ## build the documentation into build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

bench-serve: .venv/.ready ## measure feed, store, queries, page, API: PARTS="feed online"
	@$(BIN)/python -m infra.bench.serve $(PARTS)

bench-governance: .venv/.ready ## measure erasure, aggregates, keys, leaks: PARTS="erasure leak"
	@$(BIN)/python -m infra.bench.governance $(PARTS)

bounds: .venv/.ready ## search for the dearest record of each stage: NAMES="scrub gate"
	@$(BIN)/python -m infra.bench.bounds $(NAMES)

bench: .venv/.ready ## measure speed and memory, write docs/benchmarks
	@$(BIN)/python -m infra.bench.embedded

.venv/.ready: requirements.lock setup.py
	@$(HAS_PYTHON)
	@echo "making the environment in .venv (3 to 5 minutes, about 7 GB)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --progress-bar on --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
