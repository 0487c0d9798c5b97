"""Load batches: their order, worker processes, shared memory, the cache of decoded clips."""
