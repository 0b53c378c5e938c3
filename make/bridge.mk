# The bridge with real peers, bad networks and killed processes: docs/BRIDGE.md.

.PHONY: test-bridge
test-bridge: setup ## the long forms of the bridge's tests: bad networks for minutes, a million queued messages; prints figures
	cd test/bridge && GATEWAYD_BRIDGE=long $(GO) test -count=1 -timeout 45m -v ./...
