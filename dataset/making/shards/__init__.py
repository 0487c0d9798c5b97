"""Write shards, from a folder or from WebDataset's tars."""
