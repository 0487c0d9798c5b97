"""What benchmark.py measures: how fast loading, training and the measures are, compared with simple baselines."""
