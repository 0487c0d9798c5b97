"""Public benchmarks of sound localization, each in its own file; `all_benchmarks` has the table of them."""
