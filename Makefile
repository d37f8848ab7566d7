# Two commands do everything: `make demo` shows the agent at work, `make test` proves it.
VERSION := $(shell cat VERSION)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"
TOOL    := go tool -modfile=tools/go.mod

.PHONY: all build demo test prepare lint unit bench fuzz fuzz-briefly clean

all: build

# build puts codedeploy-agent, codedeploy-stub and the link codedeploy-local into bin/: static and stripped.
build:
	$(GOBUILD) -o bin/codedeploy-agent ./cmd/agent
	$(GOBUILD) -o bin/codedeploy-stub ./cmd/stub
	ln -sf codedeploy-agent bin/codedeploy-local

# demo deploys the sample application three times through a local twin of the service.
demo: build
	bin/codedeploy-stub demo --agent bin/codedeploy-agent --examples examples/website

# test installs what the tests need (as root) or says what is missing, and runs all of them.
test: prepare lint build unit fuzz-briefly

prepare:
	tools/prepare

lint:
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	@if command -v shellcheck >/dev/null; then shellcheck $$(tools/shell-scripts); \
	else echo "NOT RUN HERE: shellcheck (install it to check the shell scripts)"; fi

unit:
	tools/unit

# bench runs every benchmark once with its peer beside it and prints the ratios.
bench:
	go test -run '^$$' -bench . -benchtime 1x ./...

# fuzz runs every fuzz target for FUZZTIME each.
FUZZTIME ?= 60s
fuzz:
	tools/fuzz $(FUZZTIME)

# fuzz-briefly gives every target a second, so that none rots.
fuzz-briefly:
	tools/fuzz 1s

clean:
	rm -rf bin dist

-include packaging/packages.mk
