"""What export.py writes: a net's weights and settings, and its computation as files for other programs."""
