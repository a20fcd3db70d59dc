# make help tells what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := v1.9.0
TIMEOUT ?= 20m
FUZZTIME ?= 30s
BENCH ?= .
COUNT ?= 1
PLATFORMS := linux/arm64 darwin/arm64 windows/amd64

# Leaves the documentation generator of the flags' library out of the programs.
TAGS := urfave_cli_no_docs

# A folder of logs, NAME.log, for benchmarks and tests to run on instead of testdata/sample.
export CORPORA
ifeq ($(CORPORA),)
unexport CORPORA
endif

.PHONY: help build run test check format vet staticcheck vulncheck imports race cross servers bench bench-search fuzz clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/oklog and bin/oklog-query, static, with the version stamped in
	CGO_ENABLED=0 go build -tags $(TAGS) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/oklog ./cmd/oklog-query

run: build ## try it: start oklog up on .data, forward the sample logs, stay until Ctrl-C
	@.ci/demo

servers: ## build the S3 servers that tests run, once, into .cache/bin
	@ls .cache/bin/minio-* .cache/bin/versitygw-* >/dev/null 2>&1 || \
		echo 'building MinIO and versitygw for the tests, once: this takes 3 to 10 minutes'
	@go run ./objstore/buckettest/servers/install

test: build servers ## all tests, on a real NATS server, MinIO and versitygw
	go test -timeout $(TIMEOUT) ./...
	.ci/quickstart

check: format vet staticcheck vulncheck imports cross race ## everything that must hold before a commit, with the race detector

format: ## fail where gofmt would change something
	@bad=$$(gofmt -l cmd compact ingest objstore query); if [ -n "$$bad" ]; then echo "gofmt -w these:"; echo "$$bad"; exit 1; fi

vet:
	go vet ./...

staticcheck:
	go run $(STATICCHECK) ./...

vulncheck:
	.ci/vulncheck $(GOVULNCHECK) ./...

imports: ## who may import whom
	go test ./cmd/internal/imports

race: servers ## all tests with the race detector
	go test -race -timeout $(TIMEOUT) ./...

cross: ## build and vet for the other platforms
	@for p in $(PLATFORMS); do \
		echo "building and vetting for $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./... && \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./... || exit 1; \
	done

bench: servers ## benchmarks for benchstat: CORPORA=DIR, BENCH=REGEX, COUNT=N
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 2h -p 1 ./...

# SEARCH_LEVEL=fast and SEARCH_RUNS=N, too: see BenchmarkSearchTable.
bench-search: servers ## oklog-query beside rg and zstd | rg: CORPORA=DIR, SEARCH=REGEX of topics
	go test -run '^$$' -bench '^BenchmarkSearchTable$$' -benchtime 1x -timeout 1h ./cmd/e2e

fuzz: ## each fuzz test for FUZZTIME
	@set -e; found=0; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go | cut -c 6-); do \
			echo "$$dir $$f"; found=1; \
			go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done; [ $$found = 1 ]

clean: ## remove the programs and the data of make run
	rm -rf bin .data
