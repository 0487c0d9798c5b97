"""Map a function over clips: in processes of this machine, or on a Ray cluster."""
