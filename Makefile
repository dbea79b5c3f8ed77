# Ebbtide. `make` alone lists what there is to do. Needs Go, gcc, make and git;
# everything else is built from Go modules into bin/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
CONTAINER ?=
IMAGE_REPOSITORY ?= ghcr.io/ebbtide
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Tools have a module of their own, so that they bind none of the product's
# dependencies.
TOOL := $(GO) tool -modfile=.tools/go.mod
MODULES := . e2e/clients e2e/controlplane e2e/operators e2e/promtool e2e/ui .tools

RACE ?=
TEST_TIMEOUT ?= 45m
TEST_FLAGS := -timeout $(TEST_TIMEOUT) $(if $(RACE),-race)
# The headers of NVIDIA's library mark functions that its Go package wraps as going
# away, and the compiler says so of each.
export CGO_CFLAGS ?= -O2 -g -Wno-deprecated-declarations
# Packages whose tests start a control plane run one after another: each is
# several processes, and what they measure is time.
LIST := $(GO) list -f '{{.ImportPath}} {{.Imports}} {{.TestImports}} {{.XTestImports}}' ./...
USES_LAB := /ebbtide\/e2e\/lab(\/labtest)?[] ]/
# Packages that only compute have no goroutines, which e2e/arch holds: the race detector
# finds nothing in them, and takes five times as long.
PURE := broker/counterfactual broker/forecast broker/grants broker/lend broker/reasons broker/sim broker/sim/baseline broker/sim/product broker/view broker/view/chart mig quota quota/queue

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "; print "Usage: make TARGET [VARIABLE=value]\n"} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build all programs into bin/
	@mkdir -p bin
	$(GO) build -ldflags "-s -w" -o bin/ ./broker/cmd/kubectl-ebbtide ./e2e/cmd/ebbtide-lab
	bin/ebbtide-lab build

.PHONY: generate
generate: ## Write deep copies and CRDs from the API types, and the charts from deploy/kustomize
	$(TOOL) controller-gen object paths=./broker/api/... crd paths=./broker/api/... output:crd:dir=deploy/crds
	$(GO) run ./deploy/cmd/ebbtide-manifests generate

.PHONY: verify
verify: verify-format verify-text verify-tidy verify-generate verify-arch vet lint ## Check everything that can be checked without running it

.PHONY: verify-format
verify-format:
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs -r ls -d 2>/dev/null | xargs -r gofmt -l); \
	if [[ -n "$$files" ]]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

# Compares with what the generator writes now, so it works in a tree with changes.
.PHONY: verify-generate
verify-generate:
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(TOOL) controller-gen object paths=./broker/api/... output:object:dir="$$fresh" crd paths=./broker/api/... output:crd:dir="$$fresh/crds"; \
	diff -u broker/api/v1alpha1/zz_generated.deepcopy.go "$$fresh/zz_generated.deepcopy.go" && \
	diff -ru --exclude=kustomization.yaml deploy/crds "$$fresh/crds" || { echo "generated files are stale: run make generate"; exit 1; }
	@$(GO) run ./deploy/cmd/ebbtide-manifests verify

.PHONY: verify-tidy
verify-tidy:
	@for module in $(MODULES); do (cd $$module && $(GO) mod tidy -diff) || { echo "run go mod tidy in $$module"; exit 1; }; done

# No path of anyone's machine belongs in the tree.
.PHONY: verify-text
verify-text:
	@if git grep -nIE '(^|[^a-z./])/(wor[k]|hom[e]|roo[t]|User[s])/[a-z]' -- . ':!*.sum'; then echo "the lines above name a path of some machine"; exit 1; fi

.PHONY: verify-arch
verify-arch:
	$(GO) test ./e2e/arch

.PHONY: vet
vet:
	$(GO) vet ./...
	cd e2e/controlplane && $(GO) vet ./...
	cd e2e/operators && $(GO) vet ./...
	cd e2e/ui && $(GO) vet ./...
	cd e2e/clients && $(GO) vet ./...

.PHONY: lint
lint: ## Run the linters
	$(TOOL) golangci-lint run ./...

# What failed is told again at the end, in short: a lab's output is long, and a reader of a
# log sees its end.
define tests
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; set -x; $(1) 2>&1 | tee "$$log" || { set +x; \
	echo "What failed:"; awk -f .ci/failed.awk "$$log" | head -200; exit 1; }
endef

.PHONY: test
test: build ## Run all tests (RACE=1: with the race detector)
	@$(call tests,$(GO) test -timeout $(TEST_TIMEOUT) $(addprefix ./,$(PURE)))
	@packages=$$($(LIST) | awk '!$(USES_LAB) {print $$1}' | grep -vxF "$$($(GO) list $(addprefix ./,$(PURE)))"); $(call tests,$(GO) test $(TEST_FLAGS) $$packages)
	@packages=$$($(LIST) | awk '$(USES_LAB) {print $$1}'); $(GO) build $(if $(RACE),-race) $$packages; \
	$(call tests,$(GO) test $(TEST_FLAGS) -p 1 $$packages)

.PHONY: test-oracle
test-oracle: ## Compare the need with Knative's own autoscaler, in a module of its own
	cd e2e/oracle && $(GO) test ./...

.PHONY: test-race
test-race: ## Run all tests with the race detector
	@$(MAKE) test RACE=1

.PHONY: test-gpu
test-gpu: ## Read the GPUs of this machine and compare them with the list of boards; writes nothing, prints JSON (READING=file)
	@GPU_READING=$(if $(READING),$(abspath $(READING))) $(GO) test -tags gpu -count=1 -run '^TestGPU$$' -v ./mig/nvml

.PHONY: demo
demo: build ## Replay a day of load on a real control plane (SCENARIO=mig: a night on slices of GPUs; CHECK=1 NODES= SPEED=)
	@case "$(SCENARIO)" in ""|day|mig) ;; *) echo "SCENARIO is $(SCENARIO), must be day or mig"; exit 1;; esac
	bin/ebbtide-lab $(if $(filter mig,$(SCENARIO)),demo-mig,demo) $(if $(CHECK),--check) $(if $(NODES),--nodes=$(NODES)) $(if $(SPEED),--speed=$(SPEED))

.PHONY: lab
lab: build ## Start a control plane to play with, until interrupted
	bin/ebbtide-lab up

BENCH_PACKAGES := ./quota/... ./broker/lend/... ./broker/ledger/...
BENCH ?= .

.PHONY: bench
bench: ## Measure the core and the ledger; the last line is JSON, nanoseconds per operation (BENCH=regexp)
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(BENCH_PACKAGES) | awk '{ print } \
	/^pkg: / { n = split($$2, path, "/"); pkg = path[n] } \
	/^Benchmark/ && $$4 == "ns/op" { sub(/-[0-9]+$$/, "", $$1); sub(/^Benchmark/, "", $$1); json = json sep "\"" pkg "." $$1 "\":" $$3; sep = "," } \
	END { print "{" json "}" }'

# Every number is the median of one run's passes, from the calmest of three runs.
.PHONY: bench-quota
bench-quota: ## Measure one admission pass over 100,000 queued jobs; the last line is JSON, of the harder of two passes
	@$(GO) test -run '^$$' -bench '^BenchmarkPass$$' -benchmem -count 3 ./quota/queue | awk '{ print } \
	/^BenchmarkPass/ { name = $$1; sub(/^BenchmarkPass\//, "", name); sub(/-[0-9]+$$/, "", name); \
		for (i = 3; i < NF; i += 2) now[$$(i + 1)] = $$i; \
		if (!(name in ms) || now["median-ms"] < ms[name]) { ms[name] = now["median-ms"]; allocs[name] = now["allocs/op"] } \
		jobs[name] = now["jobs"]; admitted[name] = now["admitted"]; offered[name] = now["offered"]; tenants = now["tenants"] } \
	function row(text, name) { printf "%-58s %9.3f ms, %6d of %6d jobs tried, %5d admitted\n", text, ms[name], offered[name], jobs[name], admitted[name] } \
	END { if (!("naive" in ms)) { print "the benchmark did not run to its end"; exit 1 } \
		print ""; \
		row("nothing fits", "nothing"); row("some capacity was freed", "some"); row("much capacity was freed", "many"); \
		row("some was freed, sort all jobs and try each (naive)", "naive"); \
		row("nothing fits, 1,000 jobs in as many classes", "short"); row("nothing fits, 100 times as many jobs in the same classes", "long"); \
		printf "%-58s %9.3f ms\n", "make the index anew", ms["index"]; \
		printf "naive / indexed %.2f, long / short queues %.2f\n", ms["naive"] / ms["some"], ms["long"] / ms["short"]; \
		hard = ms["many"] > ms["nothing"] ? "many" : "nothing"; \
		printf "the harder of nothing and many is %s:\n", hard; \
		printf "{\"passMilliseconds\":%.3f,\"allocationsPerOp\":%d,\"tenants\":%d,\"jobs\":%d}\n", ms[hard], allocs[hard], tenants, jobs[hard] }'

# One run for how the cost grows, three of which the calmest counts for the size in the last line.
.PHONY: bench-decide
bench-decide: ## Measure whole decisions on one core, up to 30,000 GPUs; the last line is JSON, for 10,000 GPUs and 100,000 queued jobs
	@{ $(GO) test -run '^$$' -bench '^BenchmarkTide$$/^gpus=(1000|3000|30000)$$' -cpu 1 -benchtime 1x ./broker/lend && \
	$(GO) test -run '^$$' -bench '^BenchmarkTide$$/^gpus=10000$$' -cpu 1 -benchtime 1x -count 3 ./broker/lend; } | awk '{ print } \
	/^BenchmarkTide/ { size = $$1; sub(/^BenchmarkTide\/gpus=/, "", size); sub(/-[0-9]+$$/, "", size); \
		for (i = 3; i < NF; i += 2) now[$$(i + 1)] = $$i; \
		if (!(size in p99) || now["p99-ms"] < p99[size]) { p99[size] = now["p99-ms"]; for (m in now) best[size, m] = now[m] } } \
	function row(size) { printf "%6d %8d %8d %6d %6d %10.1f %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f %10.1f\n", size, best[size, "lenders"], best[size, "jobs"], best[size, "loans"], best[size, "decisions"], \
		best[size, "first-ms"], best[size, "quiet-ms"], best[size, "arrive-ms"], best[size, "return-ms"], best[size, "admit-ms"], best[size, "rise-ms"], \
		best[size, "p50-ms"], best[size, "p99-ms"], best[size, "cpu-p50-ms"], best[size, "cpu-p99-ms"], best[size, "alloc-MiB"] } \
	END { if (!("10000" in p99) || !("30000" in p99)) { print "the benchmark did not run to its end"; exit 1 } \
		print "\nMilliseconds by the clock, medians but for p99; cpu is the processor time of the same decisions, with what is collected within them."; \
		print "first: all jobs are new. quiet: new samples only. arrive: as many jobs come as 1 in 200 GPUs. return: as many loans ended."; \
		print "admit: what they had is lent again. rise: one service of ten has full load. p50 and p99 are over all but first."; \
		print "Garbage is collected between decisions, where the next one might have to; the line about that says what it takes, and what they take without it."; \
		printf "%6s %8s %8s %6s %6s %10s %8s %8s %8s %8s %8s %8s %8s %8s %8s %10s\n", "GPUs", "lenders", "jobs", "loans", "made", "first", "quiet", "arrive", "return", "admit", "rise", "p50", "p99", "cpu p50", "cpu p99", "MiB alloc"; \
		row(1000); row(3000); row(10000); row(30000); \
		printf "10000 GPUs: collected before %d%% of the decisions, in %.1f ms, p99 %.1f ms; not collecting, decisions take %.1f ms, p99 %.1f ms\n", 100 * best[10000, "collections"], \
			best[10000, "collect-p50-ms"], best[10000, "collect-p99-ms"], best[10000, "free-p50-ms"], best[10000, "free-p99-ms"]; \
		printf "{\"decideMillisecondsP50\":%.3f,\"decideMillisecondsP99\":%.3f,\"allocMiB\":%.1f}\n", best[10000, "p50-ms"], best[10000, "p99-ms"], best[10000, "alloc-MiB"] }'

.PHONY: bench-sim
bench-sim: ## Play all 69,351 jobs of a trace over 60 days on 10,000 GPUs, on one core; the last line is JSON (EVERY=5m SLICE=96h)
	@mkdir -p bin; $(GO) build -o bin/ ./e2e/cmd/ebbtide-bench
	@bin/ebbtide-bench sim $(if $(EVERY),--every=$(EVERY)) $(if $(SLICE),--slice=$(SLICE))

.PHONY: bench-scale
bench-scale: ## Measure one decision on the simulator's snapshots of 1,000 to 30,000 GPUs; the last line is JSON, for the largest (LENGTH=24h)
	@mkdir -p bin; $(GO) build -o bin/ ./e2e/cmd/ebbtide-bench
	@bin/ebbtide-bench scale $(if $(LENGTH),--length=$(LENGTH))

.PHONY: bench-scheduler
bench-scheduler: build ## Compare with the stock kube-scheduler on 1,000 nodes; the last line is JSON, pods per second (NODES= PODS= ROUNDS=)
	@bin/ebbtide-lab bench-scheduler $(if $(NODES),--nodes=$(NODES)) $(if $(PODS),--pods=$(PODS)) $(if $(ROUNDS),--rounds=$(ROUNDS))

.PHONY: bench-forecast
bench-forecast: ## Measure how much the broker lends over recorded loads against simpler rules; the last lines are JSON, one per curve (NOTICE= QUANTILE=)
	@$(GO) run ./e2e/cmd/ebbtide-lab bench-forecast $(if $(NOTICE),--notice=$(NOTICE)) $(if $(QUANTILE),--quantile=$(QUANTILE))

.PHONY: bench-victims
bench-victims: ## Measure the work lost by the choice of victims against the least there is and the rules of others; the last line is JSON (SMALL= LARGE=)
	@$(GO) run ./e2e/cmd/ebbtide-lab bench-victims $(if $(SMALL),--small=$(SMALL)) $(if $(LARGE),--large=$(LARGE))

.PHONY: check-mig
check-mig: ## Compare all plans for one A100's slices with what trying everything gives; the last line is JSON (SAMPLES=)
	@$(GO) run ./e2e/cmd/ebbtide-lab check-mig $(if $(SAMPLES),--samples=$(SAMPLES))

.PHONY: bench-mig
bench-mig: ## Measure for how many slices there is no place, against other ways to choose places; the last line is JSON (CHECK=1 LOADS=0.5,0.75 SEEDS= GPUS=)
	@$(GO) run ./e2e/cmd/ebbtide-lab bench-mig $(if $(CHECK),--check) $(if $(LOADS),--loads=$(LOADS)) $(if $(SEEDS),--seeds=$(SEEDS)) $(if $(GPUS),--gpus=$(GPUS))

.PHONY: bench-ledger
bench-ledger: ## Measure the ledger against bare bbolt, and how it checks a million entries; the last line is JSON (RECORDS= APPENDS= DIR=)
	@$(GO) run ./e2e/cmd/ebbtide-lab bench-ledger $(if $(RECORDS),--records=$(RECORDS)) $(if $(APPENDS),--appends=$(APPENDS)) $(if $(DIR),--dir=$(DIR))

.PHONY: bench-reclaim
bench-reclaim: build ## Compare what it costs to get units back with stock preemption; the last lines are JSON, one per case (CHECK=1 CASES=a,b,c ROUNDS= SEED=)
	@bin/ebbtide-lab bench-reclaim $(if $(CHECK),--check) $(if $(CASES),--cases=$(CASES)) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(SEED),--seed=$(SEED))

.PHONY: results
results: ## Play all experiments on recorded loads and jobs, and write docs/results; the last line is JSON (CHECK=1: compare with what is there, SEED=)
	@$(GO) run ./e2e/cmd/ebbtide-lab results $(if $(CHECK),--check) $(if $(SEED),--seed=$(SEED))

.PHONY: bench-noisy
bench-noisy: ## Measure how long a tenant's jobs wait beside another's 100,000; takes 10 minutes, the last line is JSON
	@LONG=1 $(GO) test -count=1 -timeout 30m -run '^TestNoisyTenant$$' -v ./e2e/scenarios | awk '{ print; fflush() } /^\{"jobs":/ { json = $$0 } END { if (json == "") exit 1; print json }'

.PHONY: test-disk
test-disk: ## Try the ledger against power cuts, failing and full disks, rot and kills; the last line is JSON (LONG=1 SEED=)
	@$(GO) run ./e2e/cmd/ebbtide-lab test-disk $(if $(LONG),--long) $(if $(SEED),--seed=$(SEED))

.PHONY: test-faults
test-faults: build ## Kill, stop and attack a running system within 20 minutes, and count what was lost; the last line is JSON (SEED= ROUNDS= ONLY=disk|rounds|proxy|attacks)
	@bin/ebbtide-lab test-faults $(if $(SEED),--seed=$(SEED)) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(ONLY),--only=$(ONLY))

.PHONY: test-faults-nightly
test-faults-nightly: build ## The same with 1,000 kills and 10,000 crash states, and with each guard taken out; takes hours (SEED= ROUNDS= ONLY=)
	@LONG=1 $(GO) test -count=1 -timeout 3h -run '^TestControls' -v ./e2e/faults
	@LONG=1 $(GO) test -count=1 -timeout 2h -p 1 ./e2e/scenarios ./e2e/escapes
	@bin/ebbtide-lab test-faults --long $(if $(SEED),--seed=$(SEED)) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(ONLY),--only=$(ONLY))

.PHONY: soak
soak: build ## Play an adversary for an hour, compressed, and count how often jobs are taken back; the last line is JSON (LENGTH=1h SPEED= SEED=)
	@bin/ebbtide-lab soak $(if $(LENGTH),--length=$(LENGTH)) $(if $(SPEED),--speed=$(SPEED)) $(if $(SEED),--seed=$(SEED))

IMAGES := ebbtide-broker ebbtide-scheduler ebbtide-agent kubectl-ebbtide
PUSH ?=
# Images of several platforms can only be pushed; what stays here is for here.
PLATFORMS ?= $(if $(PUSH),linux/amd64$(comma)linux/arm64)
comma := ,

.PHONY: image
image: ## Build the container images with docker, podman or buildah (CONTAINER=; PUSH=1: for PLATFORMS=linux/amd64,linux/arm64, pushed to IMAGE_REPOSITORY=)
	@CONTAINER="$(CONTAINER)" PUSH="$(PUSH)" PLATFORMS="$(PLATFORMS)" deploy/images/build.sh $(IMAGE_REPOSITORY) $(VERSION) $(IMAGES)

.PHONY: manifests
manifests: ## Render the overlays into bin/manifests, the definitions apart
	@$(GO) run ./deploy/cmd/ebbtide-manifests render bin/manifests

.PHONY: charts
charts: build-clients ## Check the charts and package them into bin/charts
	@bin/helm lint --strict --quiet --namespace ebbtide-system deploy/charts/ebbtide deploy/charts/ebbtide-crds
	@bin/helm package --destination bin/charts deploy/charts/ebbtide deploy/charts/ebbtide-crds

.PHONY: build-clients
build-clients:
	@$(GO) run ./e2e/cmd/ebbtide-lab build kubectl helm

# The checker of accessibility comes from npm at the version and sum of the lock file. On a Debian
# where one is root, what is missing is installed; elsewhere it is said what that is.
UI := e2e/ui
.PHONY: ui-tools
ui-tools:
	@if ! command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || ! command -v npm >/dev/null; then \
		if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then echo "needs chromium and npm on PATH"; exit 1; fi; \
		apt-get update -qq; command -v chromium >/dev/null || apt-get install -y -qq --no-install-recommends chromium; \
		command -v npm >/dev/null || apt-get install -y -qq --no-install-recommends npm; fi
	@cd $(UI) && npm ci --silent
	@mkdir -p bin; cd $(UI) && $(GO) build -o ../../bin/ ./cmd/ebbtide-ui

.PHONY: test-ui
test-ui: build build-clients ui-tools ## Try the dashboard in a browser, with 10,000 loans and in a lab; the last line is JSON (ONLY=pages,use,many,lab)
	@cd $(UI) && $(GO) test ./...
	@bin/ebbtide-ui test $(if $(ONLY),--only=$(ONLY))

.PHONY: screenshots
screenshots: ui-tools ## Take the docs' pictures of the dashboard
	@bin/ebbtide-ui screenshots

# The last line is of both tests: what was applied, and which commands of the pages were run.
.PHONY: test-install
test-install: build ## Install by helm, overlays and the pages' own commands, upgrade and uninstall; the last line is JSON
	@$(GO) test -count=1 -timeout 2h -p 1 -v -run '^(TestInstall|TestPages|TestFirstLoan)$$' ./e2e/install ./e2e/docs | awk '{ print; fflush() } \
	/^\{"manifestsApplied":/ { installs = substr($$0, 1, length($$0) - 1) } \
	match($$0, /[0-9]+ commands run, [0-9]+ failed/) { split(substr($$0, RSTART, RLENGTH), words, " "); runs += words[1]; failures += words[4]; pages++ } \
	END { if (installs == "" || pages < 2) { print "not all tests came to their end"; exit 1 } print installs ",\"docCommandsRun\":" runs ",\"docCommandsFailed\":" failures "}" }'

.PHONY: sbom
sbom: ## Build the programs and write what each is made of into bin/sbom, as CycloneDX (PROGRAMS=)
	@$(GO) run ./e2e/cmd/ebbtide-supply sbom bin/sbom $(PROGRAMS)

.PHONY: reproducible
reproducible: ## Build the programs twice, in different folders and from nothing, and compare; the last line is JSON (PROGRAMS=)
	@$(GO) run ./e2e/cmd/ebbtide-supply reproduce $(PROGRAMS)

# It asks vuln.go.dev for what is known. Another place: VULNDB=https://… or file:///….
# Not a part of verify, which needs no network.
VULNDB ?= https://vuln.go.dev
.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities that the code reaches; needs the network (VULNDB= OFFLINE=1: without it, say so and pass)
	@mkdir -p bin; $(GO) build -modfile=.tools/go.mod -o bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	@rc=0; bin/govulncheck -db $(VULNDB) ./... || rc=$$?; case $$rc in 0) ;; \
	3) echo "make vulncheck: the vulnerabilities above are reached"; exit 1;; \
	*) echo "make vulncheck: $(VULNDB) cannot be read from here, and NOTHING WAS CHECKED; VULNDB= names a mirror or a copy"; [[ -n "$(OFFLINE)" ]];; esac
	@$(GO) mod verify

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
