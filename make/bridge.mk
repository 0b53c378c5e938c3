# The bridge with real peers, bad networks and killed processes: docs/BRIDGE.md.

.PHONY: test-bridge
test-bridge: setup ## the long forms of the bridge's tests: bad networks for minutes, a million queued messages; prints figures
	modfile=$$(scripts/badger-overlay.sh test/bridge) && cd test/bridge && GATEWAYD_BRIDGE=long $(GO) test -modfile "$$modfile" -count=1 -timeout 45m -v ./...
