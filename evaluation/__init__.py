"""Where nets, data and measures meet: one file for each thing that eval.py and its neighbours do with a checkpoint."""
