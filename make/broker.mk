# The broker under clients that come and go: docs/BENCHMARKING.md.

CHURN ?= 60s

.PHONY: churn
churn: setup ## clients connect, subscribe, publish and leave for CHURN=60s (an hour: CHURN=1h); prints memory, which stays flat
	cd test && CHURN=$(CHURN) $(GO) test -count=1 -timeout 5h -v -run TestChurn ./e2e
