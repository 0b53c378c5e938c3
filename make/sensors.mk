# Sensors and boards: docs/SENSORS.md.

.PHONY: test-week
test-week: ## every simulated sensor through a week of faults at a hundred times the natural rate; prints figures
	GATEWAYD_WEEK=1 $(GO) test -count=1 -timeout 1h -v -run TestAWeekOfFaults ./sensors
