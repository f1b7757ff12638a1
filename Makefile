# The front door. Each goal does its own set-up: a Rust toolchain (rustup's, or any cargo of 1.95 or newer) and a C
# compiler are all that a machine needs before.

CARGO ?= cargo
# The demo and the tests share the dev profile, so that the dependencies are compiled once for both.
first_build = @[ -d target/debug/deps ] || echo "meshup: the first build compiles all dependencies; it takes some minutes"

.PHONY: help demo test release bench scaling idle micro calls calls-check calls-commit profile instructions instructions-commit image image-test check wasm-target

help:
	@echo "make demo    the proxy with an origin and the bundled filters; prints requests to try"
	@echo "make test    every test"
	@echo "make release the optimised binary, target/release/meshup"
	@echo "make bench   what a request costs, side by side with other proxies, at eleven kinds of work;"
	@echo "             with settings: make bench ARGS=\"--rounds 5 --scenarios plain,filters\" (all: ARGS=--help)"
	@echo "make scaling what it costs by the number of connections, routes, filters, endpoints, header fields, workers;"
	@echo "             takes ARGS too, and so do idle, calls and instructions"
	@echo "make idle    memory of idle connections"
	@echo "make micro   micro-benchmarks of the parts of a request's path"
	@echo "make calls   allocations and system calls per request; make calls-check compares them with the committed figures"
	@echo "make instructions   instructions per request, beside the committed figures"
	@echo "make profile record anew what the optimised binary is optimised for"
	@echo "make image   the container image \`meshup\`, and a test of what is in it"
	@echo "make check   formatting, lints and documentation"

demo: wasm-target
	$(first_build)
	$(CARGO) run --package meshup -- demo

test: wasm-target
	$(first_build)
	$(CARGO) test --manifest-path examples/custom-filter/Cargo.toml --target-dir target/examples
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; $(CARGO) nextest run --workspace --no-fail-fast; \
	else \
		set -x; scripts/test-apart; \
	fi
	$(CARGO) test --workspace --doc

# Optimised for the work that scripts/profile recorded: about a quarter fewer instructions per request. The benchmarks are
# built with the same flags, so that the dependencies are compiled once.
# Put together once, here: a goal hands its variables on to what it needs, and flags that are there twice are others.
release_flags := $(RUSTFLAGS) -Cprofile-use=$(wildcard $(CURDIR)/host/profile/native.*.profdata)
release bench scaling idle micro calls calls-check calls-commit instructions instructions-commit: export RUSTFLAGS := $(release_flags)

release: wasm-target
	@[ -d target/release/deps ] || echo "meshup: the first release build takes some minutes"
	$(CARGO) build --release --package meshup
	@echo "meshup: target/release/meshup"

measure = $(CARGO) run --release --package meshup-benches --bin

bench: release
	$(measure) compare -- $(ARGS)

scaling: release
	$(measure) scaling -- $(ARGS)

idle: release
	$(measure) idle -- $(ARGS)

# The newest figures stand beside the last run's; words choose some: `make micro ONLY=routes`.
micro: wasm-target
	$(CARGO) bench --package meshup-benches --bench micro -- $(ONLY)

# Counted, not timed. System calls need strace.
calls: wasm-target
	$(measure) calls -- $(ARGS)

# How often a request asks for memory and calls the system, beside the committed figures.
calls-check: wasm-target
	$(measure) calls -- --check benches/calls.toml $(ARGS)

calls-commit: wasm-target
	$(measure) calls -- --write benches/calls.toml

# The profiles that `make release` and `make image` use.
profile: wasm-target
	scripts/profile native
	scripts/profile image

# Counted, not timed: the figures hold on a busy machine. They need valgrind. They are those of a release build: a profile
# that no longer fits the code shows here, as more instructions.
instructions: wasm-target
	$(measure) instructions -- --check benches/instructions.toml $(ARGS)

instructions-commit: wasm-target
	$(measure) instructions -- --write benches/instructions.toml

image: wasm-target
	scripts/image
	@if [ "$$(id -u)" -eq 0 ]; then scripts/image-test; else echo "meshup: the image was not run: as root, make image-test"; fi

image-test:
	scripts/image-test

check: wasm-target
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# filters/build.rs asks for the target too, but cargo would hide that it downloads.
wasm-target:
	@scripts/wasm-target >/dev/null
