# What a person types. Everything else is cargo.
#
#   make lab     a real cluster behind pgring, until Ctrl-C
#   make test    everything that CI runs
#   make perf    the measurements (see perf/)
#   make kernels the tests of the wire on Debian 12's own kernel and on its newest one, in QEMU
#   make fuzz    libFuzzer on what reads a peer's bytes and SQL, e.g. make fuzz FUZZ='600 sql'
#   make simulate  clusters that lose their primary in every way, from seeds
#   make proof   three players against PostgreSQL 15, 17 and 18 for long, e.g. make proof PROOF_ROUNDS=5000 PROOF_SEED=7

.PHONY: help lab test kernels fuzz proof simulate tools test-tools format lint docs licences unit
.NOTPARALLEL:

help:
	@sed -n '3,10s/^#//p' Makefile

# Options for the lab, e.g. make lab LAB='--standbys 1 --port 7000'
LAB ?=

lab: tools
	cargo build --release --locked
	@exec target/release/pgring lab $(LAB)

# The tests come last, so that their summary is what the output ends with.
test: test-tools format lint docs licences unit

format:
	cargo fmt --all --check

lint:
	cargo clippy --all-targets --locked -- -D warnings

# cargo-nextest gives each test a process of its own and a time limit; cargo test runs the same tests.
unit:
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --locked --profile ci; \
	else \
		set -x; cargo test --locked; \
	fi

# Rounds in each of eight setups for each version, and where chance begins; see tests/same/players/mod.rs.
PROOF_ROUNDS ?= 1000
PROOF_SEED ?= 1

proof: tools
	PROOF_ROUNDS=$(PROOF_ROUNDS) PROOF_SEED=$(PROOF_SEED) cargo test --locked --test same -- players::

# How many clusters lose their primary, and which one alone, e.g. make simulate SEED=17
SEEDS ?= 100000
SEED ?=

simulate:
	PGRING_SEEDS=$(SEEDS) PGRING_SEED=$(SEED) cargo test --locked --lib -- --nocapture a_lost_primary_is_replaced

# Other kernels than this machine's, e.g. make kernels KERNEL='6.1 timeouts'
KERNEL ?=

kernels: tools
	tests/kernels/run $(KERNEL)

# Seconds for each target, and which; see fuzz/run.
FUZZ ?= 60

fuzz: tools
	fuzz/run $(FUZZ)

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked --document-private-items

licences:
	@if cargo deny --version >/dev/null 2>&1; then set -x; cargo deny --locked check; \
	else echo 'cargo-deny is not installed: licences and advisories are not checked'; fi

# A C compiler (it links), and the PostgreSQL programs. Root gets what is missing from apt; everyone else
# is told what to install.
tools:
	@command -v cargo >/dev/null || { echo 'Rust is missing: install it from https://rustup.rs' >&2; exit 1; }
	@missing=; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	bin=$$(pg_config --bindir 2>/dev/null); \
	ls "$${PGRING_POSTGRES_BIN:-/nowhere}/initdb" "$${bin:-/nowhere}/initdb" /usr/lib/postgresql/*/bin/initdb \
		/usr/local/pgsql/bin/initdb "$$(command -v initdb)" 2>/dev/null | grep -q . || missing="$$missing postgresql"; \
	test -z "$$missing" && exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo 'missing: a C compiler or PostgreSQL 15 or newer; install both with your package manager' >&2; exit 1; \
	elif test "$$(id -u)" != 0; then \
		echo "missing; install it with: sudo apt-get install$$missing" >&2; exit 1; \
	fi; \
	echo "installing:$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update && apt-get install -y --no-install-recommends $$missing

test-tools: tools
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

-include perf/perf.mk
