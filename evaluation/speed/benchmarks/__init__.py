"""What benchmark.py measures."""
