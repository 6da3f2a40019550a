# `make demo` is the place to start. Nothing is installed outside .venv and .uv.
#
# Every target puts .venv/bin on the PATH. To run `rca`, `dvc` or `snakemake` yourself:
#   source .venv/bin/activate
#
# Any Python 3 brings uv, and uv takes a Python 3.11 or 3.12 that it finds, or downloads one.
# To choose it: make demo PYTHON=3.12, or PYTHON=/path/to/python.

ENVIRONMENT := .venv/.made
UV := .uv/bin/uv

# The tests of the pipeline start many processes and wait for them, most of all on the cluster: those
# that use it run beside the others.
PARALLEL_TESTS := OMP_NUM_THREADS=1 pytest --numprocesses logical --maxprocesses 8 --dist loadfile
COVERAGE := --cov --cov-report=term:skip-covered

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.uv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo check test test-cluster test-pipeline coverage lint types docs drawings picture \
	reproduce faults audit dependencies lock release clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(ENVIRONMENT)  ## Run the pipeline of params.yaml on the embedded photographs
	@snakemake --cores all

check: lint types  ## What to run while working: style, types and the fast tests, in two minutes
	@$(PARALLEL_TESTS) -m "not pipeline and not slow"

test: $(ENVIRONMENT)  ## Run all tests, the pipeline's with a tiny cut of the photographs among them
	@$(PARALLEL_TESTS) -m "not pipeline" $(COVERAGE)
	@$(MAKE) --no-print-directory --jobs 2 test-cluster test-pipeline

test-cluster: $(ENVIRONMENT)
	@OMP_NUM_THREADS=1 pytest -m "pipeline and cluster"

test-pipeline: $(ENVIRONMENT)
	@OMP_NUM_THREADS=1 pytest -m "pipeline and not cluster"

coverage: $(ENVIRONMENT)  ## Say which lines the tests run that need no pipeline; page in htmlcov/
	@$(PARALLEL_TESTS) -m "not pipeline" $(COVERAGE) --cov-report=html

lint: $(ENVIRONMENT)  ## Check style, format, spelling, dependencies and who imports whom
	@ruff check
	@ruff format --check
	@snakefmt --check Snakefile
	@codespell
	@deptry --no-ansi .
	@lint-imports --no-cache

types: $(ENVIRONMENT)  ## Check types
	@mypy

docs: $(ENVIRONMENT)  ## Build the documentation's site in build/site; a warning is an error
	@python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs build/site
	@echo "Site: file://$(CURDIR)/build/site/index.html"

drawings: $(ENVIRONMENT)  ## Bring the drawings and the table in docs/ up to date with the code
	@python -m tools.reference

picture: $(ENVIRONMENT)  ## Run eight photographs in a copy; draw what a terminal shows of it
	@python -m tools.terminal_picture

reproduce: $(ENVIRONMENT)  ## Run a clean clone on eight photographs; compare with the committed lock
	@python workflow/reproduce.py $(if $(RECORD),--record)

faults: $(ENVIRONMENT)  ## Kill stages, damage inputs, fill disks at random; what becomes of it
	@python -m benchmarks.faults

audit: $(UV)  ## Look for known vulnerabilities of the locked dependencies; asks api.osv.dev
	@uv audit --frozen --preview-features audit-command

dependencies: $(ENVIRONMENT)  ## Bring the modules that dvc.yaml lists up to date with the imports
	@python workflow/dependencies.py

lock: $(UV)  ## Bring uv.lock, and envs/ with it, up to date with pyproject.toml
	@uv lock
	@uv export --quiet --frozen --all-extras --no-dev --no-emit-project --no-hashes --no-annotate \
		--output-file envs/requirements.txt

release: $(ENVIRONMENT)  ## Check, build and tag the version that pyproject.toml states
	@python tools/release.py

clean:  ## Remove what runs made: data unpacked, results, caches; archives and MLflow's store stay
	@find data -mindepth 1 -maxdepth 1 -type d ! -name embedded ! -name archives -exec rm -r {} +
	@rm -rf results logs state dvc_plots .snakemake .dvc/cache .dvc/tmp

# The locked environment, made once, and again when the lock changes. With byte code: where the
# environment forbids Python to write it, every process would compile the libraries again.
$(ENVIRONMENT): pyproject.toml uv.lock | $(UV)
	@uv venv --quiet --allow-existing $(if $(PYTHON),--python $(PYTHON)) .venv || { echo "make:" \
		"Python 3.11 or 3.12 is needed; install one, or say where it is: make PYTHON=…" >&2; exit 1; }
	@.venv/bin/python tools/compiler.py
	uv sync --quiet --frozen --all-extras --compile-bytecode
	@touch $@

$(UV):
	@python3 -m venv .uv || { rm -rf .uv; echo "make: no Python 3 that can make an environment;" \
		"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	.uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
