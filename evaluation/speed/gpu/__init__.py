"""The report of `make gpu`: each net on a GPU, in a process of its own."""
