# Every verb of this repository; `make help` lists them.
# Settings pass through the environment: MESSAGE="hello" make run

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run run-processes boot test check attack soak bench bench-far dashboard image image-lock manifest reproduce release measure docs fmt fuzz setup clean

# Tools that scripts/setup.sh installed win over those of the machine.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

# Where scripts/build.sh leaves programs.
BIN = $$(. scripts/places.sh && echo "$$built")
SHIPS = $$(. scripts/places.sh && echo "$$ships")

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: ## boot three servers in guests, with aggregator and clients, until Ctrl-C (MESSAGE="hello" sends that)
	@scripts/setup.sh build guests
	@scripts/build.sh scripts/meanwhile.sh --least
	@FLAVOR=local scripts/image.sh >/dev/null
	@exec $(BIN)/zipnet-local guests

run-processes: ## the same with servers as processes, without an image
	@scripts/setup.sh build
	@scripts/build.sh
	@exec $(BIN)/zipnet-local processes

boot: ## boot one guest and print its console
	@scripts/setup.sh build guests
	@scripts/build.sh scripts/meanwhile.sh --least
	@FLAVOR=local scripts/image.sh >/dev/null
	@exec $(BIN)/zipnet-local boot

test: ## all tests, those over real processes and in guests included
	@scripts/setup.sh build test guests
	@scripts/build.sh scripts/meanwhile.sh
	@for flavor in local production; do FLAVOR=$$flavor scripts/image.sh >/dev/null || exit; done
	@scripts/tsm-guest.sh
	@scripts/packages.sh deploy/host/libvirt.lock $(or $(CARGO_TARGET_DIR),target)/machine
	@scripts/progress.sh tests cargo nextest run --workspace --locked --no-run
	@cargo nextest run --workspace --locked

check: ## formatting, lints, dependencies, spelling, shell scripts
	@scripts/setup.sh build check
	cargo fmt --all --check
	rustfmt --check --edition 2024 fuzz/fuzz_targets/*.rs measurements/fuzz/fuzz_targets/*.rs
	typos
	shellcheck .ci/run $$(find . -name target -prune -o -name '*.sh' -print)
	@scripts/units.sh
	@scripts/progress.sh clippy cargo clippy --workspace --all-targets --locked -- -D warnings
	@# What ships does not panic at what a stranger sends; unwrap and expect are denied above.
	@scripts/progress.sh clippy cargo clippy --workspace --lib --bins --locked -- \
		-D clippy::panic -D clippy::unreachable -D clippy::todo -D clippy::unimplemented \
		-D clippy::indexing_slicing -D clippy::string_slice
	@# The guest's first program has a panic handler of its own, and a profile.
	cargo clippy --quiet --package zipnet-stub --bins --features efi --profile stub --locked -- -D warnings
	@scripts/deny.sh
	@# The commands of docs/operator/monitoring.md.
	promtool check config --lint-fatal deploy/monitoring/prometheus.yml >/dev/null
	promtool test rules deploy/monitoring/zipnet.rules.test.yml

bench: ## throughput and latency of what ships: the protocol alone, then end to end
	@scripts/setup.sh build
	@cargo bench -p zipnet-protocol -p zipnet-attest --locked
	@scripts/progress.sh build cargo build --release --workspace --locked \
		--bin zipnet-server --bin zipnet-aggregator --bin zipnet-archive --bin zipnet-bench
	@$(SHIPS)/zipnet-bench
	@echo
	@$(SHIPS)/zipnet-bench --clients 1000 --talkers 30 --period 1s
	@echo
	@$(SHIPS)/zipnet-bench --clients 10 --period 1s --rounds 20 --readers 1000
	@echo
	@exec $(SHIPS)/zipnet-bench --clients 250,500,1000 --leaves 10 --talkers 30 --period 1s --fold-deadline 8s

bench-far: ## the same end to end, with each packet 40 ms late (needs a kernel with netem)
	@scripts/setup.sh build test
	@scripts/build.sh
	@exec scripts/far.sh 40ms $(BIN)/zipnet-bench --period 2s --network "each packet 40 ms late"

attack: ## run the attacks of the reviews, in their long form, and print what they learn (ATTACKS="a1 d1" runs some)
	@scripts/setup.sh build guests
	@scripts/build.sh scripts/meanwhile.sh
	@FLAVOR=local scripts/image.sh >/dev/null
	@exec $(BIN)/zipnet-attack $(ATTACKS)

soak: ## load and faults for SOAK_SECONDS (600), by SOAK_SEED; as root. Report in target/soak/report.html
	@scripts/setup.sh build test
	@scripts/build.sh
	@exec $(BIN)/zipnet-soak

image: ## the guest image in target/image/FLAVOR (FLAVOR=production, or local to try things out)
	@scripts/setup.sh build guests
	@scripts/image.sh

image-lock: ## lock today's versions of the Debian packages that the image is made of
	@for lock in image/inputs.lock image/firmware.lock image/reproduce.lock tests/tsm/headers.lock; do \
		scripts/packages.sh --renew $$lock $(or $(CARGO_TARGET_DIR),target)/machine || exit; done

manifest: ## write the production image's manifest to measurements/releases, for a release
	@scripts/setup.sh build guests
	@FLAVOR=production scripts/image.sh >/dev/null
	@scripts/manifest.sh

reproduce: ## build the image twice in unlike surroundings and compare every byte
	@scripts/setup.sh build guests
	@scripts/reproduce.sh

release: ## the programs as they ship (panic=abort)
	@scripts/setup.sh build
	@cargo build --release -p zipnet-server -p zipnet-cli -p zipnet-archive -p zipnet-attest -p zipnet-measurements -p zipnet-host -p zipnet-manuals --locked

.PHONY: packages
packages: release ## Debian packages of them, in target/deb
	@deploy/packages.sh

measure: ## the registers of the current image, for every shape (IMAGE=dir names another build)
	@scripts/setup.sh build
	@scripts/build.sh
	@scripts/measure.sh

docs: ## the book, in target/book, with its links checked
	@scripts/setup.sh build test docs
	@scripts/docs.sh

dashboard: ## draw the dashboard of a real run to docs/operator/dashboard.png (4 minutes)
	@scripts/setup.sh build dashboard
	@scripts/build.sh
	@scripts/dashboard.sh

fmt: ## format the code
	@cargo fmt --all
	@rustfmt --edition 2024 fuzz/fuzz_targets/*.rs measurements/fuzz/fuzz_targets/*.rs

fuzz: ## fuzz for FUZZ_SECONDS (60); ZIPNET_FUZZ_TARGET=name fuzzes one target only
	@scripts/fuzz.sh

setup: ## install what the other verbs need (each of them does so too)
	@scripts/setup.sh build test check

clean: ## delete what was built; the tools in target/tools stay
	@cargo clean --profile dev
	@cargo clean --profile release
	@rm -rf fuzz/target measurements/fuzz/target
