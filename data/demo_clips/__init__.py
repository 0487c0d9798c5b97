"""Drawing and synthesis of the demo's clips, for data/make_demo_data.py."""

SIZES = {"train": 1500, "val": 120, "test": 200}  # clips of each split, by default
