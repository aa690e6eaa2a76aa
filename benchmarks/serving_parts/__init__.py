"""What benchmarks/serving.py is made of: the systems it compares, the load on them, the timings inside one."""
