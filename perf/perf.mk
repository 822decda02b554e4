# `make perf`: builds, installs the peers when that is possible, measures, writes perf/record/.
# Included by the Makefile; works alone as well: make -f perf/perf.mk perf
# PERF_ARGS narrows a run, e.g. PERF_ARGS="--quick --only simple"; see cargo bench --bench perf -- run --help

PERF_ARGS ?=
PERF_PEERS = pgbouncer pgpool2

.PHONY: perf perf-peers

perf: perf-peers
	cargo build --release --bin pgring
	cargo bench --bench perf --no-run
	cargo bench --bench perf -- run $(PERF_ARGS)

# A peer that is missing and cannot be installed is left out of the tables, and said so there.
perf-peers:
	@for package in $(PERF_PEERS); do \
	  if dpkg -s $$package >/dev/null 2>&1; then continue; fi; \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "perf: $$package is not installed; install it to compare with it"; continue; fi; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$package >/dev/null \
	    || { apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$package >/dev/null; } \
	    || echo "perf: $$package could not be installed"; \
	done
