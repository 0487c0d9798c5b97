"""What eval.py does with a checkpoint: one file for each task."""
