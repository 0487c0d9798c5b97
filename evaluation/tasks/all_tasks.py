"""The tasks of eval.py, by their names."""

from collections.abc import Sequence

from evaluation.tasks.correspondence import CorrespondenceTask
from evaluation.tasks.finetune import FineTuneTask
from evaluation.tasks.localization import LocalizationTask
from evaluation.tasks.names import BENCHMARK_TASKS
from evaluation.tasks.probe import ProbeTask
from evaluation.tasks.retrieval import RetrievalTask
from evaluation.tasks.separation import SeparationTask
from evaluation.tasks.task import Task
from evaluation.trained_net import TrainedNet
from utils.errors import UserError

TASKS: dict[str, Task] = {
    "avc": CorrespondenceTask(),
    "retrieval": RetrievalTask(),
    "localization": LocalizationTask(),
    "separation": SeparationTask(),
    "probe": ProbeTask(),
    "finetune": FineTuneTask(),
}


def choose_tasks(net: TrainedNet, names: Sequence[str], benchmark: str | None = None) -> list[Task]:
    """Choose those of the requested tasks that apply to a net.

    Args:
        net: the trained net.
        names: keys of TASKS.
        benchmark: name of a public benchmark, which has boxes only, or None for a split.

    Returns:
        The tasks, in the order of TASKS.

    Raises:
        UserError: none applies.
    """
    supported = [name for name, task in TASKS.items() if task.applies_to(net.model)]
    if benchmark:
        supported = [name for name in supported if name in BENCHMARK_TASKS]
    chosen = [name for name in supported if name in names]
    if not chosen:
        task = f"--benchmark {benchmark}" if benchmark else f"--tasks {' '.join(names)}"
        instead = f"it can be measured by --tasks {' '.join(supported)}" if supported else "it has no localization maps"
        raise UserError(f"{task} does not apply to {net.config.model.name}: {instead}")
    return [TASKS[name] for name in chosen]
