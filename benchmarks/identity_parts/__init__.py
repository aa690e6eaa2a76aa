"""Parts of benchmarks/identity.py."""
