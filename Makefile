# make test   everything a change must pass
# make check  formatting, vet, staticcheck
# make race   the concurrent packages under the race detector
# make bench  Pamir against PostgreSQL 15, one interleaved run
# make retries  what clients see of each other's transactions (40001), and commits by number of ranges, beside PostgreSQL 15
# make differential  random programs on Pamir and PostgreSQL 15, over tables of many ranges, while these move, on processes that are stopped, and of sessions that meet (DIFFERENTIALFLAGS="-first 1000 -seeds 2000 -keep /tmp/found")
# make quiet  what ranges cost that nobody asks anything: three processes, 1,000 and 10,000 ranges on each
# make sim    thousands of seeded simulations of whole clusters, some of them twice, and the bugs planted to be found
# make chaos  real processes under faults for an hour (CHAOSFLAGS="-duration 10m -faults kill,isolate")
# make tending  ranges that look after themselves, shown with real processes: splits, merges, moves, faults (TENDINGFLAGS="-steps hot")
# make simulate  the planner of placement against models of clusters, up to 1,000 nodes and 1,000,000 ranges: tables and plots
# make regions  nine processes in three regions: what statements cost over distance, the loss of a region; COMMIT by ranges and distance
# make demo   a three-node cluster in one process

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
RACE = ./hlc/... ./range/... ./txn/... ./pgwire/... ./internal/...

.PHONY: build test check race bench retries differential quiet sim chaos tending simulate regions demo

build:
	$(GO) build -o bin/pamir ./cmd/pamir

test: check
	$(GO) test ./...

check:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

race:
	$(GO) test -race -short $$($(GO) list $(RACE) | grep -v '/range/store$$')
	$(GO) test -race -short -cpu 1 ./range/store # why: .ci/run

bench:
	$(GO) run ./tests/bench $(BENCHFLAGS)

retries:
	$(GO) run ./tests/bench -what retries -systems pamir3,pgsync -duration 10s $(BENCHFLAGS)

differential:
	$(GO) test ./tests/differential -count=1 -v -timeout 0 -seeds 200 -steps 60 -moving 20 -paused 20 -interleavings 500 -interleavings-moving 50 $(DIFFERENTIALFLAGS)

quiet:
	$(GO) run ./tests/quiet $(QUIETFLAGS)

sim:
	$(GO) test ./tests/sim -count=1 -v -timeout 0 -run 'TestSimulation|TestMerges|TestLoads|TestMutants' -seeds 3000 $(SIMFLAGS)

chaos:
	$(GO) test ./tests/chaos -count=1 -v -timeout 0 -duration 1h $(CHAOSFLAGS)

tending:
	$(GO) test ./tests/tending -count=1 -v -timeout 0 -run TestTending -steps all $(TENDINGFLAGS)

simulate:
	$(GO) run ./placement/simulate/plot -out bin/simulate

regions:
	$(GO) test ./tests/regions -count=1 -v -timeout 8m -run 'TestNineProcesses|TestCommitsByDistance' -processes $(REGIONSFLAGS)

demo:
	$(GO) run ./cmd/pamir demo
