"""Parts of benchmarks/image.py."""
