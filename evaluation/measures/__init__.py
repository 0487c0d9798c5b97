"""Arrays to numbers: the measures, pure functions without nets or files."""
