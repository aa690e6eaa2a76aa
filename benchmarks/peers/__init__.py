"""Other recommenders, tuned on the validation window, for `benchmarks/quality.py`."""
