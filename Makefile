# `make demo` is the place to start. Nothing is installed outside .venv.
#
# Every target puts .venv/bin on the PATH. To run `rca`, `dvc` or `snakemake` yourself:
#   source .venv/bin/activate

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name))))
ENVIRONMENT := .venv/.made

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test lint reproduce dependencies lock clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(ENVIRONMENT)  ## Run the pipeline of params.yaml on the embedded photographs
	@snakemake --cores all --quiet host progress reason
	@rca table

test: $(ENVIRONMENT)  ## Run all tests, the pipeline's with a tiny cut of the photographs among them
	@OMP_NUM_THREADS=1 pytest

lint: $(ENVIRONMENT)  ## Check style, format and who imports whom
	@ruff check
	@ruff format --check
	@lint-imports --no-cache

reproduce: $(ENVIRONMENT)  ## Run a clean clone on eight photographs; compare with the committed lock
	@python workflow/reproduce.py $(if $(RECORD),--record)

dependencies: $(ENVIRONMENT)  ## Bring the modules that dvc.yaml lists up to date with the imports
	@python workflow/dependencies.py

lock: .venv/bin/uv  ## Bring uv.lock, and envs/ with it, up to date with pyproject.toml
	@uv lock
	@uv export --quiet --frozen --all-extras --no-dev --no-emit-project --no-hashes --no-annotate \
		--output-file envs/requirements.txt

clean:  ## Remove what runs made: data unpacked, results, caches; archives and MLflow's store stay
	@find data -mindepth 1 -maxdepth 1 -type d ! -name embedded ! -name archives -exec rm -r {} +
	@rm -rf results logs state dvc_plots .snakemake .dvc/cache .dvc/tmp

# The locked environment, made once, and again when the lock changes. With byte code: where the
# environment forbids Python to write it, every process would compile the libraries again.
$(ENVIRONMENT): pyproject.toml uv.lock | .venv/bin/uv
	@command -v "$${CXX:-g++}" >/dev/null \
		|| { echo "make: no g++; the CRF is compiled: apt-get install g++, or the like" >&2; exit 1; }
	@.venv/bin/python -c 'import os, sysconfig; \
		raise SystemExit(not os.path.isfile(sysconfig.get_path("include") + "/Python.h"))' \
		|| { echo "make: no Python.h; the CRF is compiled: apt-get install python3-dev" >&2; exit 1; }
	uv sync --quiet --frozen --all-extras --compile-bytecode
	@touch $@

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "make: no Python; install Python 3.11 or 3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; raise SystemExit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "make: $(PYTHON) is $$($(PYTHON) -V), but 3.11 or 3.12 is needed:" \
			"make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
