"""Batches to network inputs, on the device: frames, spectrograms, mixtures, augmentation."""
