"""What data/check_data.py writes about the clips that it has checked."""

MISSING_LIST = "missing.csv"
