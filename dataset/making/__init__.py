"""What the commands in data/ share: cut, check and list clips, write shards."""
