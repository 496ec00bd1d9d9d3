# Two commands on a fresh Debian machine with Go, as root, are all the set-up there is:
#
#   make demo   runs a real Windows archiver in a sandbox and tells what happened
#   make test   runs every check and test
#
# The others: build, stubs, bench, engines, corpus, soak, validate, test-v2, test-lsm, fuzz, clean.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# urfave_cli_no_docs leaves the library's documentation renderer out, which costs most of a millisecond at every start.
WINBOX_GOFLAGS := -trimpath -tags=urfave_cli_no_docs
GOFLAGS := $(filter-out $(WINBOX_GOFLAGS),$(shell go env GOFLAGS)) $(WINBOX_GOFLAGS)
LDFLAGS := -s -w -X main.version=$(VERSION)
export GOFLAGS
# A static program starts faster and runs on any distribution.
export CGO_ENABLED := 0

STUBS := sandbox/init preload/stub wine/boot quota/library

PREFIX ?= /usr/local

.PHONY: all build man install stubs check-stubs demo test test-engines test-background lint unit integration engines corpus soak validate fuzz bench test-v2 test-lsm clean

all: build

build: build/winbox build/winbox-images

.PHONY: build/winbox build/winbox-images
build/winbox build/winbox-images:
	go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

# The manual, of what --help shows.
man: build
	mkdir -p build/man
	build/winbox man build/man

# The programs, the manual, and completion for bash, zsh and fish.
install: man
	install -D -m 755 build/winbox $(DESTDIR)$(PREFIX)/bin/winbox
	install -m 755 build/winbox-images $(DESTDIR)$(PREFIX)/bin/winbox-images
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 build/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	set -e; completion() { \
		install -d "$$(dirname "$$2")"; build/winbox completion "$$1" >"$$2"; chmod 644 "$$2"; \
	}; \
	completion bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/winbox; \
	completion zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_winbox; \
	completion fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/winbox.fish

# Builds the freestanding programs anew; what comes out is committed.
stubs:
	set -e; for dir in $(STUBS); do $(MAKE) -B -C $$dir; done

# The committed programs are the ones that the committed sources make.
check-stubs: stubs
	git diff --exit-code --stat -- $(STUBS)

demo:
	test/install.sh demo
	$(MAKE) build
	test/demo.sh

test:
	for what in test validate test-v2; do test/install.sh $$what || exit 1; done
	$(MAKE) build lint check-stubs unit integration
	$(MAKE) -j2 -O test-engines test-background

# Engines wait much of their time; fuzzing and an emulated machine have work for it meanwhile.
test-engines:
	$(MAKE) engines
	$(MAKE) validate RUNTIMES=winbox
test-background:
	$(MAKE) fuzz test-v2

lint:
	test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./...
	go tool staticcheck ./...

unit integration:
	test/run.sh $@

# podman, buildah, containerd and docker, with winbox as their runtime.
engines: build
	test/engines/run.sh

# Real programs, each on every Wine that can run it; `make test` does so on one.
corpus: build
	test/install.sh test
	WINBOX_TEST_CORPUS_ALL=1 test/run.sh integration -run TestCorpus

# A thousand launches one after another, fifty at a time, and killed at any moment: nothing may fail or stay.
soak: build
	test/install.sh test
	WINBOX_TEST_SOAK=1000 test/run.sh integration -run TestResidue

# The OCI project's validation programs: PROGRAMS picks some, RUNTIMES who is to run them, V=1 prints what they say.
RUNTIMES := winbox,runc,crun
validate: build
	test/install.sh validate
	test/validate.sh $(if $(V),-v) -r $(RUNTIMES) $(PROGRAMS)

# SECONDS is the time for each target.
fuzz:
	test/run.sh fuzz $(SECONDS)

# cgroup v2 tests in a small virtual machine.
test-v2:
	test/install.sh test-v2
	test/v2.sh

# Tests of AppArmor and SELinux, in machines that have them.
test-lsm:
	test/install.sh test-lsm
	test/lsm.sh

bench: build
	test/install.sh bench
	test/bench.sh

clean:
	rm -rf --one-file-system build
