"""The names of the public benchmarks: a command line needs no more, and this imports nothing."""

BENCHMARK_NAMES = ("flickr", "vggss", "is3", "vpo_ms", "avsbench_s4", "avsbench_ms3")
