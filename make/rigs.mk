# Emulated boards: docs/RIGS.md. Each target takes both cores for minutes.

CUTS ?= 12
SEED ?= 1

.PHONY: powercut
powercut: ## cuts the power of an emulated board under load: CUTS=200, SEED=1
	@scripts/setup-debian.sh rigs
	cd test && GATEWAYD_RIGS=1 CUTS=$(CUTS) SEED=$(SEED) $(GO) test -count=1 -timeout 5h -v -run 'TestGatewayd' ./powercut

.PHONY: powercut-selftest
powercut-selftest: ## proves that the power-cut rig catches brokers that forget to sync
	@scripts/setup-debian.sh rigs
	cd test && GATEWAYD_RIGS=1 $(GO) test -count=1 -timeout 30m -v -run 'Broker' ./powercut

.PHONY: hil
hil: ## the gateway on emulated ARM boards whose sensor and lines are moved from outside
	@scripts/setup-debian.sh rigs
	cd test && GATEWAYD_RIGS=1 $(GO) test -count=1 -timeout 20m -v ./hil
