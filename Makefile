# The front door. Each goal does its own set-up: a Rust toolchain (rustup's, or any cargo of 1.95 or newer) and a C
# compiler are all that a machine needs before.

CARGO ?= cargo
# The demo and the tests share the dev profile, so that the dependencies are compiled once for both.
first_build = @[ -d target/debug/deps ] || echo "meshup: the first build compiles all dependencies; it takes some minutes"

.PHONY: help demo test bench image image-test check wasm-target

help:
	@echo "make demo    the proxy with an origin and the bundled filters; prints requests to try"
	@echo "make test    every test"
	@echo "make bench   CPU time per request, side by side with other proxies"
	@echo "make image   the container image \`meshup\`, and a test of what is in it"
	@echo "make check   formatting, lints and documentation"

demo: wasm-target
	$(first_build)
	$(CARGO) run --package meshup -- demo

test: wasm-target
	$(first_build)
	$(CARGO) test --manifest-path examples/custom-filter/Cargo.toml --target-dir target/examples
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; $(CARGO) nextest run --workspace --no-fail-fast && $(CARGO) test --workspace --doc; \
	else \
		set -x; $(CARGO) test --workspace --no-fail-fast; \
	fi

bench: wasm-target
	@[ -d target/release/deps ] || echo "meshup: the first release build takes some minutes"
	$(CARGO) build --release --package meshup
	$(CARGO) run --release --package meshup-benches --bin compare

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
