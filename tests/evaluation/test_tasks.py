"""The tasks of eval.py: which apply to which net, and what they share."""

import pytest
import torch
from helpers import make_dataset, small_checkpoint

from dataset.reading.benchmarks.all_benchmarks import BENCHMARKS
from dataset.reading.benchmarks.names import BENCHMARK_NAMES
from evaluation.measures.ontology import load_ontology
from evaluation.tasks import task as tasks_task
from evaluation.tasks.all_tasks import TASKS, choose_tasks
from evaluation.tasks.embeddings import open_eval_split
from evaluation.tasks.names import DEFAULT_TASKS, TASK_NAMES
from evaluation.tasks.task import EvalContext
from evaluation.trained_net import TrainedNet, load_trained_net
from models import build_net
from utils.config import load_config
from utils.errors import UserError


def fresh_net(name):
    config = load_config(f"configs/demo_{name}.py")
    return TrainedNet(build_net(config.model), config, {"metrics": {}}, f"runs/{name}/best.pt")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AVENet", ["avc", "retrieval", "probe", "finetune"]),
        ("AVENet_MF", ["avc", "retrieval", "probe", "finetune"]),
        ("L3Net", ["avc", "retrieval", "probe", "finetune"]),
        ("VOLNet", ["avc", "retrieval", "localization", "probe", "finetune"]),
        ("PixelPlayer", ["separation"]),
    ],
)
def test_a_task_applies_to_the_nets_that_have_its_methods(name, expected):
    net = fresh_net(name)
    assert [name for name, task in TASKS.items() if task.applies_to(net.model)] == expected
    assert [task.name for task in choose_tasks(net, list(TASKS))] == expected
    by_default = [name for name in expected if name not in ("probe", "finetune")]
    assert [task.name for task in choose_tasks(net, DEFAULT_TASKS)] == by_default


def test_tasks_are_listed_by_their_names():
    assert all(task.name == name for name, task in TASKS.items()) and set(DEFAULT_TASKS) < set(TASKS)
    assert tuple(TASKS) == TASK_NAMES and tuple(BENCHMARKS) == BENCHMARK_NAMES


def test_a_task_that_does_not_apply_is_named_with_those_that_do():
    with pytest.raises(UserError, match=r"--tasks avc probe does not apply to PixelPlayer: .* --tasks separation$"):
        choose_tasks(fresh_net("PixelPlayer"), ["avc", "probe"])
    with pytest.raises(UserError, match="--benchmark vggss does not apply to AVENet: it has no localization maps"):
        choose_tasks(fresh_net("AVENet"), DEFAULT_TASKS, "vggss")
    assert [task.name for task in choose_tasks(fresh_net("VOLNet"), DEFAULT_TASKS, "vggss")] == ["localization"]


def test_the_tasks_share_one_embedding_of_the_split(tmp_path, monkeypatch):
    root = make_dataset(tmp_path / "data", train=0, val=0, test=6)
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.workers": 0}
    net = load_trained_net(small_checkpoint(tmp_path / "best.pt", **settings), {"data.root": str(root)})
    calls, embed = [], tasks_task.embed_split
    monkeypatch.setattr(tasks_task, "embed_split", lambda *args: calls.append(1) or embed(*args))
    context = EvalContext(net, "test", open_eval_split(net.config, "test"), load_ontology(), tmp_path)
    assert not calls  # nothing is embedded before a task needs it
    results = [TASKS[name].run(context) for name in ("avc", "retrieval", "localization")]
    assert len(calls) == 1 and {result.clips for result in results} == {6}
    assert [sorted(result.metrics) for result in results] == [
        ["avc", "by_class"],
        ["retrieval"],
        ["localization", "negative_sounds"],
    ]
    page = results[0].page | results[1].page | results[2].page
    assert page.clips and page.retrieval and page.maps
    media = page.clips.load_media(0)
    assert media.frame.shape == (64, 64, 3) and media.sound.shape == (media.rate,)
    assert torch.tensor(page.maps.cross_logits([1, 4])).shape == (2, 2, *page.maps.logits.shape[1:])
