"""What a trained net is worth: load it, run it on a split, measure, report."""
