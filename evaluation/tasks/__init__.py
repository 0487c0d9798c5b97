"""The tasks of eval.py, one file for each."""
