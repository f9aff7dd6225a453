# Everything that this project can do from a shell. `make` alone lists it.
# Needs Python 3.11 or later and nothing else: Java, the AWS CLI and the embedded AWS come with requirements.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
STUDENT_ID ?= demo
REGION ?= us-west-2
EXAMPLES ?= 1000
SEED ?=
PARTS ?=
OPTIONS ?=

# Relative, so that a path with spaces above the checkout does no harm.
BIN := .venv/bin
STAMP := .venv/installed
DEV_STAMP := .venv/installed-dev
LINTERS := .venv-linters
LINTERS_STAMP := $(LINTERS)/installed
TEMPLATES := capstone-starter.cfn.yaml capstone-operations.cfn.yaml
RUN := $(BIN)/python -m capstone_pipeline report --student-id "$(STUDENT_ID)" --region "$(REGION)"
LOCAL_AWS := packages/local-aws
# Files of tests on three processes, each with an embedded AWS of its own, as they wait a good deal for Spark's starts
# and for schedules; the longest come first (tests/conftest.py). Three keep two cores busy, and a fourth would be one more
# cold JVM. Java's optimising compiler takes a third of the CPU time of such short jobs, and pays in longer ones only.
SIDE_BY_SIDE := JDK_JAVA_OPTIONS=-XX:TieredStopAtLevel=1 $(BIN)/python -m pytest \
	--numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 25 --durations-min 5
CODE := benchmarks capstone_pipeline demo.py generate_sample_data.py glue_scripts notebooks tests tools \
	watch_demo.py $(LOCAL_AWS)/src $(LOCAL_AWS)/tests

.PHONY: help venv dev linters demo watch accept report validate dashboard quality more explore notebooks diagram test test-local-aws test-long browser lint lint-templates format notebook bench docs blog figures up down clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

venv: $(STAMP)  ## the virtual environment .venv with what the pipeline needs (requirements.txt)

$(STAMP): requirements.txt pyproject.toml $(LOCAL_AWS)/pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "No python3 found. Install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"{sys.executable} is Python {sys.version.split()[0]}, but 3.11 or later is needed. Name another: make PYTHON=/path/to/python3.11")'
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@$(BIN)/python -m local_aws.glue.s3a
	@touch $@

dev: $(DEV_STAMP)  ## what tests and checks need besides, in the same environment (pyproject.toml, dev)

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@# Else the first server does so in the background, which takes minutes beside tests.
	@$(BIN)/python -m local_aws.glue.recording
	@touch $@

linters: $(LINTERS_STAMP)  ## the environment .venv-linters, for what pins an older boto3 than ours

$(LINTERS_STAMP): requirements-linters.txt
	"$(PYTHON)" -m venv $(LINTERS)
	$(LINTERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-linters.txt
	@touch $@

demo: venv  ## the whole pipeline on the embedded AWS, ending with output/build_pipeline.html
	@$(BIN)/local-aws up > /dev/null
	@unset AWS_PROFILE AWS_SESSION_TOKEN; eval "$$($(BIN)/local-aws env)" && \
	$(BIN)/python demo.py --student-id "$(STUDENT_ID)" --region "$(REGION)" && \
	$(MAKE) --no-print-directory report
	@echo "The embedded AWS goes on running: \`make down\` stops it, \`make clean\` removes its data too."

watch: venv  ## answers that are seconds old, in a browser, while events come in (OPTIONS="--events 5000 --every 10")
	@was_up=$$($(BIN)/local-aws status > /dev/null 2>&1 && echo yes || echo no); \
	$(BIN)/local-aws up > /dev/null; trap : INT; \
	unset AWS_PROFILE AWS_SESSION_TOKEN; eval "$$($(BIN)/local-aws env)"; status=0; \
	$(BIN)/python watch_demo.py --student-id "$(STUDENT_ID)" --region "$(REGION)" $(OPTIONS) || status=$$?; \
	if [ $$was_up = no ]; then $(BIN)/local-aws down; fi; exit $$status

accept: venv  ## prove on this AWS that all of it works: output/accept.html (asks first: a dollar, twenty minutes; OPTIONS=--yes)
	@$(BIN)/python -m capstone_pipeline accept --student-id "$(STUDENT_ID)" --region "$(REGION)" $(OPTIONS)

report: venv  ## run and render the notebook on the AWS that the environment points to
	@$(RUN)

validate: venv  ## compare every answer with the raw events: output/validate_results.html, fails where they differ
	@$(RUN) --notebook notebooks/validate_results.ipynb

dashboard: venv  ## the answers for a business person: output/dashboard.html
	@$(RUN) --notebook notebooks/dashboard.ipynb

quality: venv  ## rejects, duplicates, late events, freshness: output/data_quality.html
	@$(RUN) --notebook notebooks/data_quality.ipynb

more: venv  ## seven more questions, each answer compared with the raw events: output/more_answers.html
	@$(RUN) --notebook notebooks/more_answers.ipynb

explore: venv  ## a first look at sample-data, without AWS: output/explore_events.html
	@$(RUN) --notebook notebooks/explore_events.ipynb

notebooks: notebook  ## run all notebooks on an embedded AWS of their own and keep the outputs in them, to be committed
	@$(BIN)/python -m tools notebooks

diagram: venv  ## draw the picture of the architecture anew: docs/images/architecture.svg and .png
	@$(BIN)/python -m tools diagram

test: dev linters browser lint  ## lint, types and the pipeline's tests (those lint templates and policies, too)
	$(SIDE_BY_SIDE)

test-local-aws: dev  ## the tests of the embedded AWS
	$(SIDE_BY_SIDE) $(LOCAL_AWS)/tests

test-long: dev browser  ## 1,000 random histories of the ETL script, many kills, and all marked as long (EXAMPLES=n, SEED=n to repeat)
	@seed="$(SEED)"; \
	ETL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/etl/test_{any_history,invariants,watch}.py \
	-k "any_history or killed" --hypothesis-seed="$${seed:-$$RANDOM}"
	$(SIDE_BY_SIDE) -m long tests $(LOCAL_AWS)/tests

browser:  ## a Chromium for the tests that look at pages: installed where root on Debian or Ubuntu, else explained
	@if [ -n "$${CHROMIUM:-}" ] || command -v chromium-headless-shell chromium chromium-browser google-chrome > /dev/null; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium for the tests of rendered pages ..."; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core || \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } > /dev/null 2>&1 || \
		echo "Chromium could not be installed: the tests that need a browser will be skipped."; \
	else \
		echo "No Chromium or Chrome found: the tests that need a browser will be skipped. Install one (apt-get install chromium, brew install --cask chromium), or name it: CHROMIUM=/path/to/chrome make test"; \
	fi

lint: dev  ## style (ruff), types (mypy), and which way imports point (import-linter)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy $(CODE)
	$(BIN)/lint-imports

lint-templates: dev linters  ## the CloudFormation templates (cfn-lint, checkov)
	$(BIN)/cfn-lint --include-checks W E I --template $(TEMPLATES)
	$(LINTERS)/bin/checkov $(foreach template,$(TEMPLATES),--file $(template)) --framework cloudformation --skip-download --compact --quiet

format: dev  ## put the code into its standard form
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

notebook: venv  ## put glue_scripts/capstone_etl.py and the pictures into build_pipeline.ipynb
	@$(BIN)/python -m tools embed

bench: dev  ## measure everything, about an hour (PARTS="one_batch queries" for some; OPTIONS="--repeats 3")
	@$(BIN)/python -m benchmarks $(PARTS) $(OPTIONS)
	@$(MAKE) --no-print-directory docs

docs: dev figures  ## write the computed tables and plots of docs/ (the sample answers: see QUERIES_REFERENCE.md)
	@$(BIN)/python -m tools docs

blog: venv  ## the write-up as a web page, output/blog_post.html
	@$(BIN)/python -m tools blog

figures: venv  ## bring the measured figures of benchmarks/results/ into all documents
	@$(BIN)/python -m tools figures

up: venv  ## start the embedded AWS and print the exports that point a shell to it
	@$(BIN)/local-aws up

down: venv  ## stop the embedded AWS; its data stays
	@$(BIN)/local-aws down

clean: venv  ## stop the embedded AWS and remove its data
	@$(BIN)/local-aws clean
