"""Campaigns: many bad inputs and faults, each given to a command as a user would; what must hold is in `case.py`."""
