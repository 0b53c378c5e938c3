# The durable store on 32 bits and on disks that fail: docs/STORE.md.

.PHONY: test-disk
test-disk: ## the store on full, failing and read-only file systems, built as it is shipped (root, loop devices)
	$(GO) test -count=1 -timeout 20m $(CORRECTED) ./store

.PHONY: test-386
test-386: ## the store's whole suite as a 32-bit program
	GOARCH=386 $(GO) test -count=1 -timeout 30m $(CORRECTED) ./store

.PHONY: test-arm
test-arm: ## the store's suite, short form, as an ARMv7 program under qemu-user
	@command -v qemu-arm-static >/dev/null || scripts/setup-debian.sh rigs
	STORE_TEST_RUNNER=qemu-arm-static GOARCH=arm GOARM=7 $(GO) test -count=1 -short -timeout 30m -exec qemu-arm-static $(CORRECTED) ./store

.PHONY: million
million: ## a million queued messages: filled, started cold, drained; beside live traffic; in a control group of 128 MB (root)
	cd test && $(GO) run ./bench -brokers gatewayd -runs 1 -only million $(BENCHFLAGS)
