"""Load a trained net, run it on a split, measure it, and report the results."""
