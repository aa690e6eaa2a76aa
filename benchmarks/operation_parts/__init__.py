"""Parts of `benchmarks/operation.py`."""
