# "make" alone lists what there is.

# The linter stays out of go.mod, which it would triple; its version is pinned here.
GOLANGCI = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s
IBCONN_SOAK ?= 10m

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## A bus, a simulated gateway and its bad night, on one screen
	go run ./cmd/ibconn demo

.PHONY: run
run: ## Connect to the gateway at $$IBCONN_GATEWAY (127.0.0.1:4002) and stay connected
	go run ./cmd/ibconn run

.PHONY: build
build: ## bin/ibconn
	go build -trimpath -o bin/ibconn ./cmd/ibconn

.PHONY: test
test: ## All tests
	go vet ./...
	go test -shuffle=on ./...

.PHONY: race
race: ## All tests with the race detector
	go test -race -shuffle=on -timeout 20m ./...

.PHONY: golden
golden: ## Rewrite the golden files; read the diff as a change of behaviour
	go test ./events ./connector -run . -update

.PHONY: fuzz
fuzz: ## Each fuzz test for $$FUZZTIME
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

.PHONY: soak
soak: ## Random faults for $$IBCONN_SOAK (10m), in an order drawn by $$IBCONN_SOAK_SEED
	IBCONN_SOAK=$(IBCONN_SOAK) go test -race -run '^TestSoak$$' -count=1 -timeout=0 -v ./cmd/ibconn

.PHONY: soak-hub
soak-hub: ## A hub that is killed, cut off and slowed for $$IBCONN_SOAK (10m), three ways
	go test -race -run '^TestAHubThatIsKilled|^TestAClusterWhoseNodes' -relaysoak $(IBCONN_SOAK) -count=1 -timeout=0 -v ./bus
	IBCONN_HUB_SOAK=$(IBCONN_SOAK) go test -run '^TestAHubInAnotherNetwork' -count=1 -timeout=0 -v ./cmd/ibconn

.PHONY: bench
bench: ## Speeds as ratios against a raw baseline in the same run
	go test -run '^$$' -bench . -benchtime 1s ./...

.PHONY: lint
lint: ## golangci-lint, pinned (the first run builds it)
	$(GOLANGCI) run ./...

.PHONY: check
check: lint race ## What a change must pass before it is proposed
	test -z "$$(gofmt -l .)"
	go mod tidy -diff
	go mod verify
