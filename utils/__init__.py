"""What serves every net: configuration, the training loop, checkpoints, measures, figures."""
