# The two that matter: `make run` does the main job, `make test` proves it.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
GO       ?= go
FUZZTIME ?= 3s
FUZZ     ?= .
export CGO_ENABLED ?= 0
# Everything that runs the store is built with the corrections to its database (docs/decisions/0002).
CORRECTED = -modfile "$$(scripts/badger-overlay.sh)"

.DEFAULT_GOAL := help

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## builds bin/gatewayd for this machine
	$(GO) build $(CORRECTED) -trimpath -ldflags '$(LDFLAGS)' -o bin/gatewayd ./cmd/gatewayd

.PHONY: run
run: build ## runs the gateway on its built-in default: mosquitto_sub -t 'room1/#' prints readings
	@bin/gatewayd run

.PHONY: setup
setup: ## installs what the tests need from Debian, when it is missing
	@scripts/setup-debian.sh test

.PHONY: test
test: setup ## every test of the project, real peers included
	@failed=0; \
	$(GO) test $(CORRECTED) ./... || failed=1; \
	(cd test && $(GO) test ./...) || failed=1; \
	modfile=$$(scripts/badger-overlay.sh test/bridge) && (cd test/bridge && $(GO) test -modfile "$$modfile" ./...) || failed=1; \
	exit $$failed

.PHONY: test-nats
test-nats: ## twenty gateways bridge into a three-node NATS cluster that loses a node at a time
	modfile=$$(scripts/badger-overlay.sh test/nats) && cd test/nats && $(GO) test -modfile "$$modfile" -count=1 ./...

.PHONY: lint
lint: ## gofmt, vet, staticcheck, floor plan
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	cd test/bridge && $(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 -run TestFloorPlan .

.PHONY: check
check: lint ## gofmt, vet, staticcheck, floor plan, race detector
	@scripts/setup-debian.sh check
	CGO_ENABLED=1 $(GO) test $(CORRECTED) -race -short ./...

.PHONY: cross
cross: ## static linux binaries for arm64, armv7, armv6 and amd64 in dist/
	@scripts/cross.sh '$(LDFLAGS)'

.PHONY: bench
bench: setup ## gatewayd beside mosquitto and nats-server; writes docs/BENCHMARKS.md
	cd test && $(GO) run ./bench -out ../docs/BENCHMARKS.md $(BENCHFLAGS)

.PHONY: fuzz
fuzz: ## every fuzz target for a moment: FUZZTIME=3s each; FUZZ='Decode|Conversation' picks some
	@scripts/fuzz.sh $(FUZZTIME) '$(FUZZ)'

.PHONY: generate
generate: ## writes the generated files anew
	$(GO) generate ./...

include make/*.mk
