"""The names of the tasks and baselines of eval.py: its command line needs no more, and this imports nothing."""

TASK_NAMES = ("avc", "retrieval", "localization", "separation", "probe", "finetune")
DEFAULT_TASKS = ("avc", "retrieval", "localization", "separation")  # probe and finetune need the train split too
PROBE_TASKS = ("probe", "finetune")  # of a folder of classes
BENCHMARK_TASKS = ("localization",)  # public benchmarks have boxes only
BASELINES = ("cca", "vgg16", "vgg16+cca")  # of retrieval
