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

BOARD ?= rpi4

.PHONY: image
image: ## a bootable SD-card image in dist/: BOARD=rpi3, rpi4, rpi5 or zero2w
	@scripts/setup-debian.sh rigs
	@scripts/image.sh $(BOARD)

.PHONY: images
images: ## the image of every board
	@for b in rpi3 rpi4 rpi5 zero2w; do $(MAKE) --no-print-directory image BOARD=$$b || exit 1; done

.PHONY: flash
flash: ## writes the image to a card: DEV=/dev/sdX BOARD=rpi4
	@scripts/flash.sh "$(DEV)" dist/gatewayd-$(BOARD).img

.PHONY: image-test
image-test: ## boots the image in QEMU; what it acknowledged survives a hard reset
	@scripts/setup-debian.sh rigs
	cd test && GATEWAYD_RIGS=1 $(GO) test -count=1 -timeout 20m -v ./image

.PHONY: rigs
rigs: powercut-selftest powercut hil image-test ## every rig once, as CI does

SOAK ?= 30m

.PHONY: soak
soak: setup ## days of traffic in SOAK=30m: kills, a full disk; memory, descriptors, goroutines and disk stay flat
	cd test && SOAK=$(SOAK) $(GO) test -count=1 -timeout 3h -v ./soak

.PHONY: test-faults
test-faults: ## SIGKILL at five passings of every step of the QoS 2 exchanges
	cd test && GATEWAYD_SOAK=1 $(GO) test -count=1 -timeout 30m -v ./faulthook
