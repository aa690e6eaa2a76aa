"""Parts of benchmarks/sessions.py."""
