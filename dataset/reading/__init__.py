"""Read clips: from a dataset folder, from shards, by URL, from public benchmarks and any media file."""
