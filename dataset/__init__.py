"""From files on disk to tensors on the device."""
