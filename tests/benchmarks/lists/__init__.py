"""What `make compare` can compare: one module per list; see tests/benchmarks/compare.py."""
