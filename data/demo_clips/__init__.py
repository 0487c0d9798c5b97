"""Drawing and synthesis of the demo's clips, for data/make_demo_data.py."""
