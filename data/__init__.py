"""Commands that make a dataset: run them as `python data/NAME.py`."""
