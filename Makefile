# rmq: what one does with a clone. `make` alone lists the verbs.

GO       ?= go
FUZZTIME ?= 10s
KILLS    ?= 50
CUTS     ?= 50
BALLAST  ?= 16
FOR      ?= 10m
PKG      ?= ./...
ARGS     ?=
SEEDS    ?= 1000
VOTERS   ?= 3000
CLUSTERS ?= 1000
FROM     ?= 0

# Linters are run from source, at a version of their own, so that nothing needs to
# be installed and go.mod stays free of them.
GOLANGCI ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help
.PHONY: help up build test race sim torture nodes fuzz lint bench micro gen clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## build and run a broker here: make up ARGS="--any-port --memory"
	$(GO) run ./cmd/rmq up $(ARGS)

build: ## one static binary: bin/rmq
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/rmq ./cmd/rmq

test: ## every test: make test PKG=./broker/kernel/...
	$(GO) test $(ARGS) $(PKG)

race: ## every test under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short $(ARGS) $(PKG)

# Most of a run is short-lived memory: collecting it seldom saves a third of the time.
sim: ## simulation: SEEDS seeds of a broker that loses power, VOTERS of voters, CLUSTERS of whole nodes, that come and go, from seed FROM on
	GOGC=400 $(GO) test ./testkit/sim -count 1 -timeout 8h -v -run '^(TestSeeds|TestLinear)$$' -seeds $(SEEDS) -from $(FROM) $(ARGS)
	GOGC=400 $(GO) test ./testkit/sim -count 1 -timeout 8h -v -run '^TestVoters$$' -seeds $(VOTERS) -from $(FROM) $(ARGS)
	GOGC=400 $(GO) test ./testkit/sim -count 1 -timeout 8h -v -run '^TestNodes$$' -seeds $(CLUSTERS) -from $(FROM) $(ARGS)

torture: ## kill -9 and power loss under load: KILLS and CUTS times each, BALLAST MiB/s written besides
	$(GO) test -v -count 1 -timeout 60m ./testkit/crash -run 'TestKillLoop|TestPowerLoss|TestDiskThatLies' -kills $(KILLS) -cuts $(CUTS) -ballast $(BALLAST) $(ARGS)

nodes: ## nodes of a cluster under load are killed, stopped, and come and go, each for FOR; Python clients too
	RMQ_PYTHON=$$(testkit/clients/python/run --python) $(GO) test -v -count 1 -timeout 60m ./testkit/crash -run '^(TestNodeKills|TestNodePauses|TestNodesComeAndGo)$$' -for $(FOR) $(ARGS)

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list $(PKG)); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
		done; \
	done

lint: ## vet, format and the linters that .golangci.yaml names
	$(GO) vet $(PKG)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GOLANGCI) run $(PKG)

bench: build ## rmq as clients see it, beside peers that run: PEER_MQTT=host:port PEER_KAFKA=… PEER_AMQP=amqp://…
	$(GO) run ./testkit/bench -rmq bin/rmq $(ARGS)

micro: ## benchmarks of every package, with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(ARGS) $(PKG)

gen: ## write generated files again
	$(GO) generate $(PKG)

clean: ## remove what was built
	rm -rf bin dist
