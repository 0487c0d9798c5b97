"""Check clips, repair them, and move refused ones away."""
