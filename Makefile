# vic: a Docker endpoint where every container is its own virtual machine.
#
#   make demo    set everything up, start the suite, run a container in a VM
#   make test    all checks and tests
#
# Needs Debian 12 (or what is like it), Python 3.11 or later, and root or sudo.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v "$$python"; break; }; done)
BIN := .venv/bin
TOOLS := /var/cache/vic/tools
# Debian's docker CLI and registry, unpacked beside what the machine has itself.
export PATH := $(PATH):/usr/sbin:/sbin:$(TOOLS)/usr/bin

# What the suite runs with beside QEMU, and what its tests need besides.
PACKAGES := nftables iproute2 e2fsprogs busybox-static
TEST_PACKAGES := skopeo umoci debootstrap strace postgresql golang-go golang-github-vmware-govmomi-dev

# The quick ones first; then those that run the whole suite, and look at the host for what it leaves.
SUITES := tests/unit tests/security tests/integration
SUITES_OF_ALL := tests/conformance tests/e2e
# Files of tests run side by side, each in one process: what they share is made once there.
SIDE_BY_SIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile
# tests/longest.py says which file is first.
SIDE_BY_SIDE += --no-loadscope-reorder
# A suite that came up broken would fail each test by its time limit.
SIDE_BY_SIDE += --maxfail=10
# What takes long is seen where it is run, before it is too much.
SIDE_BY_SIDE += --durations=40 --durations-min=4
PROJECT := portlayer services gateway tether hostagent installer tests bench examples protos/generate.py

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

# --- set-up -----------------------------------------------------------------------------------

# Installs the named packages where one is missing; else touches neither apt nor the network.
install-missing = missing=; for package in $(1); do \
	dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed \
	|| missing="$$missing $$package"; done; \
	[ -z "$$missing" ] || { echo "installing$$missing"; $(SUDO) apt-get -qq update; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
	--no-install-recommends $$missing >/dev/null; }

.PHONY: packages test-packages
packages:
	@$(call install-missing,$(PACKAGES))
	@deploy/install-qemu.sh
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { $(call install-missing,python3-venv); }

test-packages: packages
	@$(call install-missing,$(TEST_PACKAGES))

# The docker CLI and the registry come from Debian's packages without installing these: that would
# start two daemons and change the firewall.
unpack-deb = $(SUDO) mkdir -p $(TOOLS)/debs; cd $(TOOLS)/debs; $(SUDO) rm -f $(1)_*.deb; \
	$(SUDO) apt-get -qq download $(1) 2>/dev/null \
	|| { $(SUDO) apt-get -qq update; $(SUDO) apt-get -qq download $(1); }; \
	$(SUDO) dpkg-deb --extract $(1)_*.deb $(TOOLS)

.PHONY: tools
tools: packages
	@command -v docker >/dev/null || { echo "unpacking docker.io"; $(call unpack-deb,docker.io); }
	@command -v docker-registry >/dev/null \
	|| { echo "unpacking docker-registry"; $(call unpack-deb,docker-registry); }

.venv/.made: pyproject.toml
	@$(MAKE) --no-print-directory packages
	"$(PYTHON)" -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --editable .
	@touch $@

.venv/.made-dev: .venv/.made
	$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: bootstrap
bootstrap: packages .venv/.made ## Build the container VMs' kernel and bootstrap image
	@$(SUDO) $(BIN)/python -m tether.bootstrap build --cache /var/cache/vic/bootstrap

.PHONY: setup
setup: packages tools bootstrap .venv/.made

# --- use --------------------------------------------------------------------------------------

.PHONY: demo down
demo: setup ## Start the suite, pull an image, run it in a virtual machine of its own
	@$(SUDO) env "PATH=$$PATH" $(BIN)/python -m examples.demo

down: .venv/.made ## Stop what `make demo` left running
	@$(SUDO) env "PATH=$$PATH" $(BIN)/python -m examples.demo --down

# --- checks -----------------------------------------------------------------------------------

.PHONY: lint protos test unit bench soak conformance
lint: .venv/.made-dev ## ruff, mypy, import borders, protos
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy $(PROJECT)
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint protos
	$(BIN)/python protos/generate.py --check

protos: .venv/.made-dev ## Generate the contract's Python modules
	$(BIN)/python protos/generate.py

unit: .venv/.made-dev ## The tests that need no virtual machine
	$(BIN)/pytest tests/unit tests/security

test: setup test-packages lint ## Everything: lint, unit, integration, conformance, end to end
	$(SUDO) env "PATH=$$PATH" $(BIN)/pytest $(SIDE_BY_SIDE) $(SUITES)
	$(SUDO) env "PATH=$$PATH" $(BIN)/pytest $(SIDE_BY_SIDE) $(SUITES_OF_ALL)

bench: setup .venv/.made-dev ## Start to exit of a container; ARGS="--count 50 --peer" beside dockerd
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.start $(ARGS)

soak: setup test-packages .venv/.made-dev ## Kills at every step, 100 at once, and hours of all that, counting what is left; ARGS
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.faults
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.faults --replicas
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.lives
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.parallel
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.sessions
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.replicas
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.containers
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.steps
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.undisturbed
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.networks
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m bench.soak $(ARGS)

conformance: setup .venv/.made-dev ## docker-py's own integration tests against our endpoint; ARGS="FILE::CLASS"
	$(SUDO) env "PATH=$$PATH" $(BIN)/python -m tests.conformance.harness $(ARGS)
