"""What runs a training, whatever the net: configuration, loop, optimizers, checkpoints, processes, health."""
