# What people do with the project. Each target says what it is in one line: `make help`.
PYTHON := .venv/bin/python
LAB := $(PYTHON) -m lab
FAST := tests/unit tests/contract tests/golden
# For every platform, and the oldest Python that the project runs on; one version for all where there is one.
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-package pulumi-buildkit --annotation-style line \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
CLIENT ?= dev
DIR ?= certs

.PHONY: help
help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: up
up: machine python ## start a one-node Kubernetes (or take $KUBECONFIG), run the dev stack, build an image
	@$(LAB) up

.PHONY: down
down: python ## destroy the stack, stop the node, leave the machine as it was
	@$(LAB) down $(CLUSTER)

.PHONY: env
env: python ## print shell exports: eval "$$(make -s env)"
	@$(LAB) env

.PHONY: status
status: python ## one screen: what runs, who builds, the cache, certificates, failures; STACK=…: another stack
	@$(if $(STACK),$(PYTHON) -m status --stack "$(STACK)",$(LAB) status)

.PHONY: client-certs
client-certs: python ## write ca.pem, cert.pem, key.pem: make client-certs CLIENT=dev DIR=certs
	@$(LAB) client-certs $(CLIENT) $(DIR)

.PHONY: render
render: python ## write manifests for kubectl and GitOps: make render STACK=dev DIR=manifests; SECRETS=1: with Secrets
	@$(PYTHON) -m render --stack "$(STACK)" --directory "$(if $(filter file,$(origin DIR)),,$(DIR))" $(if $(SECRETS),--secrets)

.PHONY: preflight
preflight: python ## say which security variants the nodes can run, of the lab or of $KUBECONFIG; IMAGE=…: from a mirror
	@$(if $(KUBECONFIG),,lab="$$($(LAB) env)" && eval "$$lab" &&) $(PYTHON) -m preflight $(if $(IMAGE),--image "$(IMAGE)")

.PHONY: test
test: machine test-fast ## prove the project: lint, types, and every test, on the real cluster
	@$(PYTHON) -m pytest -n 4 --dist loadfile --durations 15 -m "not alone and not soak" tests/lab
	@$(PYTHON) -m pytest --durations 15 -m alone tests/lab

.PHONY: test-fast
test-fast: check ## all that needs no lab
	@$(PYTHON) -m pytest -n 4 $(FAST)

.PHONY: test-random
test-random: python ## thousands of random configurations against Kubernetes' schema
	@$(PYTHON) -m pytest --hypothesis-profile=thousands tests/contract/test_configurations.py

.PHONY: check
check: python site ## lint and types, and that no link of the docs is dead
	@$(PYTHON) -m ruff check --quiet . && $(PYTHON) -m ruff format --quiet --check .
	@$(PYTHON) -m pyright

.PHONY: docs
docs: python ## make the reference pages from the code
	@$(PYTHON) -m docs.generate

.PHONY: dashboard
dashboard: python ## make the Grafana dashboard from its Python
	@$(PYTHON) -m dashboard

.PHONY: site
site: python ## build/site: the docs as a site, where no link is dead
	@$(PYTHON) -m sphinx --quiet --fail-on-warning --fresh-env docs build/site

.PHONY: lock
lock: python ## pin all Python packages, with hashes, in requirements*.lock; UPGRADE=1: their newest versions
	@$(COMPILE) requirements.txt --output-file requirements.lock
	@$(COMPILE) requirements-dev.txt --constraint requirements.lock --output-file requirements-dev.lock

.PHONY: sbom
sbom: python ## build/sbom.cdx.json: what a stack consists of, as CycloneDX
	@$(PYTHON) -m supply

.PHONY: measure
measure: machine python ## record how long these take in docs/measurements.md; COLD=1: from nothing cached
	@$(PYTHON) -m lab.measure $(if $(COLD),--cold)

.PHONY: soak
soak: machine python ## an hour of builds through rollouts, renewals, kills and none at all, recorded in docs/promises.md
	@$(PYTHON) -m lab.promises tests/lab/test_soak.py

.PHONY: promises
promises: machine python ## show the promises in full, for hours, recorded in docs/promises.md; FILES=…: of these
	@$(PYTHON) -m lab.promises $(FILES)

.PHONY: bench
bench: machine python ## time it beside BuildKit's manifests and buildx's driver, an hour; QUICK=1: one round
	@$(PYTHON) -m bench $(if $(QUICK),--quick)

.PHONY: machine
machine:
	@python3 -m lab.preflight

.PHONY: python
python:
	@python3 -m lab.bootstrap
