SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Nothing here calls home, asks a model hub, waits for a Ray token that another run left behind, or runs at nice 15.
export RAY_USAGE_STATS_ENABLED := 0
export RAY_AUTH_MODE := disabled
export RAY_worker_niceness := 0
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE ?= 1

PYTHON := $(or $(PYTHON),$(shell for p in python3.11 python3.12; do $$p -c '' 2>/dev/null && echo $$p && break; done))
LOCK := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# PyPI's torch is the CUDA build. The CPU build: pip's own wheels (find-links) if they have it, else PyTorch's index.
PYTORCH := https://download.pytorch.org/whl/cpu
PIP_INSTALL := .venv/bin/pip install -qq --no-deps
CPU_TORCH = torch=$$(grep ^torch== requirements/cpu.txt); \
	$(PIP_INSTALL) --no-index $$torch 2>/dev/null || $(PIP_INSTALL) --index-url $(PYTORCH) $$torch
LOCKED := .venv/.locked-$(LOCK)
STAMP := .venv/.installed
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: venv
venv: $(STAMP) ## Create .venv and install the lock: CPU, or CUDA where nvidia-smi answers

$(LOCKED): requirements/$(LOCK).txt requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "python3.11 or python3.12 is needed: none found on PATH" >&2; exit 1; }
	@echo "venv: installing the $(LOCK) lock for $(PYTHON); this takes some minutes, once"
	@$(PYTHON) -m venv --clear .venv
	@$(if $(filter cpu,$(LOCK)),$(CPU_TORCH))
	@$(PIP_INSTALL) --only-binary :all: -r requirements/$(LOCK).txt -r requirements/dev.txt
	@touch $@

$(STAMP): $(LOCKED) pyproject.toml
	@$(PIP_INSTALL) --no-build-isolation -e .
	@touch $@

# A changed file restarts what it must; an edit under `user_config` is live at once: serve deploy $(CONFIG)
CONFIG ?= $(if $(filter gpu,$(LOCK)),serve_config.gpu.yaml,serve_config.yaml)

.PHONY: serve
serve: $(STAMP) .models/target-270m/config.json ## Serve CONFIG: serve_config.yaml, or serve_config.gpu.yaml on CUDA
	@python -m deployments.up $(CONFIG)

.PHONY: validate
validate: $(STAMP) ## Check CONFIG=... before deploying it
	@python -m deployments.validate $(CONFIG)

.PHONY: profile
profile: $(STAMP) .models/target-270m/config.json ## Calibrate to this machine and CONFIG's models: .profile/report.html
	@python -m deployments.profile --config $(CONFIG)

.PHONY: openapi
openapi: $(STAMP) ## Write the HTTP schema from vLLM's protocol classes and ours
	@python -m deployments.openapi

.PHONY: check
check: $(STAMP) ## Formatting, lint, types and import rules
	@echo "check: ruff"
	@ruff format --check --quiet
	@ruff check --quiet
	@echo "check: mypy"
	@mypy
	@echo "check: import rules"
	@lint-imports --no-logo

.PHONY: test-fast
test-fast: $(STAMP) ## The unit and local layers
	@pytest tests/unit tests/local

.PHONY: test
test: $(STAMP) models ## Everything: unit, local, cluster, engine
	@pytest

# CASES: generated requests for each route; many minutes on a busy machine
CASES ?= 200
.PHONY: faults
faults: $(STAMP) models ## Bad input, kills, bad policies, reload storm, overload, losslessness: tables of what was lost
	@python -W ignore -m tests.faults.schema $(CASES)
	@python -m tests.faults.kills
	@python -m tests.faults.kills --engine vllm
	@python -m tests.faults.policies
	@python -m tests.faults.policies --engine vllm
	@python -m tests.faults.storm
	@python -m tests.faults.abuse
	@python -m tests.faults.lossless

# Eight hours: make soak MINUTES=480
MINUTES ?= 60
.PHONY: soak
soak: $(STAMP) models ## The service for MINUTES at 80 % of what it can do: leaks, counts, greedy identity
	@python -m benchmarks.soak --minutes $(MINUTES)

.PHONY: models
models: .models/target-30m/config.json .models/target-270m/config.json ## Grow the demo target to 30M and 270M parameters

.models/target-%/config.json: models/grow.py models/target/model.safetensors | $(STAMP)
	@echo "models: growing the target to $*"
	@python models/grow.py --size $* --out $(@D)
	@touch $@

# Hours in the background; a finished run is a folder and is not run again. BENCH="--size 30m --minutes 60" runs a part.
# The results here are of our machine, and yours is refused beside them: BENCH="--size 30m --out .bench/serving"
BENCH ?= --size 270m
.PHONY: bench
bench: $(STAMP) models ## Stock vLLM against our engine under five loads; resumable
	@python -m benchmarks.serving $(BENCH)

# TRACES: a folder with adaspec_*.csv (the AdaSpec paper's sequences) and AzureLLMInferenceTrace_code.csv
# On your machine, after bench: RATES=.bench/serving BENCH="--size 30m --out .bench/replay"
TRACES ?= traces
RATES := benchmarks/results/serving
.PHONY: bench-full
bench-full: $(STAMP) models ## The arms of bench, at its rates, under the 600-s recorded sequences in TRACES
	@python -m benchmarks.serving --loads --traces $(TRACES) --window-s 600 --rounds 1 \
		--out benchmarks/results/replay --rates $(RATES) $(BENCH)

.PHONY: lock
# uv knows where PyTorch keeps its CPU wheels; UV_TORCH="--find-links DIR" takes them from a folder instead.
UV_TORCH ?= --torch-backend cpu
COMPILE := uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate \
	--custom-compile-command "make lock" pyproject.toml
lock: ## Resolve the locks anew from pyproject.toml (needs uv); pins that still fit are kept
	@$(COMPILE) --extra cpu --extra loadgen --excludes requirements/cpu.exclude.txt $(UV_TORCH) \
		-o requirements/cpu.txt >/dev/null
	@sed -i 's/^\(torch==.*\)+cpu$$/\1/' requirements/cpu.txt
	@$(COMPILE) --extra dev -c requirements/cpu.txt -o requirements/dev.txt >/dev/null
	@$(COMPILE) --extra gpu --extra loadgen -c requirements/dev.txt -o requirements/gpu.txt >/dev/null
