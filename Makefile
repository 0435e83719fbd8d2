# Every target works alone on a fresh Debian machine with Go: what else it needs
# is installed with apt, as root or through sudo.

GO ?= go
IMAGE ?= debian
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Under sudo the tree belongs to somebody else, and git tells root nothing of it.
E2E_ENV = FWPROV_E2E=1
E2E_TIMEOUT = 70m
E2E = $(SUDO) env PATH="$$PATH" $(E2E_ENV) GOFLAGS=-buildvcs=false $(GO) test -count=1 -timeout $(E2E_TIMEOUT) -parallel 4

.PHONY: build demo test lint unit e2e test-kills matrix soak test-vm fuzz bench bench-fleet setup setup-vm clean

# One file that needs nothing of the machine it runs on.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o build/fwprov ./cmd/fwprov

# The guide's network on this machine: built, provisioned, and used. IMAGE=el: on the other image.
demo: setup build
	$(SUDO) env IMAGE=$(IMAGE) bash e2e/demo.sh

test: lint unit e2e

lint:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

unit:
	$(GO) test ./...

# On real daemons, on both images: a pair's life from nothing to a reboot, every step by itself, and what must not go
# wrong.
e2e: setup
	$(E2E) ./e2e/lab
	$(E2E) ./e2e

# The program killed 200 times, the connection and the power cut 20 times each: the better part of an hour.
test-kills: E2E_ENV += FWPROV_KILLS=200
test-kills: E2E_TIMEOUT = 8h
test-kills: setup
	$(E2E) -run TestKills -v ./e2e

# Every single fault of docs/failover.md, on both images: half an hour on a quiet machine.
matrix: E2E_ENV += FWPROV_MATRIX=all
matrix: setup
	$(E2E) -run TestMatrix -v ./e2e

# A hundred power cuts, and five hundred looks at a healthy pair: an hour.
soak: E2E_ENV += FWPROV_SOAK=100
soak: E2E_TIMEOUT = 3h
soak: setup
	$(E2E) -run TestSoak -v ./e2e

# The guide's pair on virtual machines: a real trunk, real reboots, loss on the sync network.
test-vm: E2E_ENV += FWPROV_VM=1
test-vm: setup-vm
	$(E2E) -run TestVM -v ./e2e

# Everything that reads what somebody else has written, one target after the other: FUZZ=30s for a short while.
# What no node says gets less: FuzzQuote starts shells, FuzzLoad reads inventories.
FUZZ ?= 1000000x
FUZZ_SLOW ?= 20000x
fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || :); do \
			n=$(FUZZ); case $$f in FuzzQuote|FuzzLoad) n=$(FUZZ_SLOW) ;; esac; \
			echo "== $$p $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $$n -fuzzminimizetime 10x $$p; \
		done; \
	done

# What fwprov costs: by itself, by fleets, in round trips, and beside Ansible, a script and bare ssh. More than an hour;
# BENCH is how many rounds.
BENCH ?= 15
bench: E2E_ENV += FWPROV_BENCH=$(BENCH)
bench: E2E_TIMEOUT = 4h
bench: setup
	@SUDO=$(SUDO) sh e2e/setup.sh ansible-playbook ansible-core ssh openssh-client
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 10x ./hcl ./steps ./provision
	$(MAKE) bench-fleet
	$(E2E) -run 'TestTrips|TestBench' -v ./e2e

# Fleets of simulated pairs: what fwprov takes for 10 to 5,000 nodes. Five minutes.
bench-fleet:
	FWPROV_BENCH=1 $(GO) test -count=1 -timeout 1h -v -run 'TestBench|TestBinary' ./e2e/bench/fleet

setup:
	@SUDO=$(SUDO) sh e2e/setup.sh

setup-vm: setup
	@SUDO=$(SUDO) sh e2e/setup.sh qemu-system-x86_64 qemu-system-x86 qemu-img qemu-utils mke2fs e2fsprogs cpio cpio ssh openssh-client

clean:
	rm -rf build
