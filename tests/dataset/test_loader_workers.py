"""How many processes load, and that validation is the same with any number of them."""

import pytest
import torch
from helpers import make_dataset
from kill_and_resume import SMALL

from configs.schema import Train
from dataset.data_module import AVCDataModule
from dataset.loading import loader
from dataset.loading.loader import SampleDataset, make_loader
from dataset.loading.order import EpochBatchSampler
from utils import child_processes
from utils.config import from_dict, load_config, override, to_dict


class Numbers(SampleDataset):
    """Samples without arrays."""

    def __len__(self):
        return 100

    def __getitem__(self, key):
        return {"index": key[1], "time": 0.0, "seed": 0}


def endless():
    return EpochBatchSampler(100, 10, seed=0)


@pytest.mark.parametrize(("workers", "order", "expected"), [
    (-1, endless(), 3), (0, endless(), 0), (2, endless(), 2),
    (-1, [[(0, 1)], [(0, 2)]], 2), (8, [[(0, 1)]], 1), (8, [], 0), (0, [[(0, 1)]], 0),
])  # fmt: skip
def test_as_many_workers_as_cores_and_no_more_than_a_list_has_fetches(monkeypatch, workers, order, expected):
    monkeypatch.setattr(loader, "own_cores", lambda: 3)
    assert make_loader(Numbers(), order, workers).num_workers == expected


def test_the_default_is_the_cores_of_the_process_and_numbers_stay():
    assert Train().workers == -1 and 1 <= child_processes.own_cores() <= 1024
    settings = override(load_config("configs/demo_AVENet.py"), {"train.workers": 5})
    assert from_dict(to_dict(settings)).train.workers == 5  # of checkpoints, too


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("data") / "clips", train=4, val=7, test=0)
    (sorted((root / "val/video").iterdir())[4]).write_bytes(b"")
    return root


def validation(root, workers):
    settings = {"data.root": str(root), "train.workers": workers, "eval.batch_size": 2, "train.batch_size": 2}
    module = AVCDataModule(override(load_config("configs/demo_AVENet.py"), SMALL | settings), "cpu")
    skipped = []
    passes = []
    for _ in range(2):  # of two validations
        batches = module.val_batches(lambda *what: skipped.append(what))
        passes.append([{k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()} for batch in batches])
    return passes, skipped


def test_validation_is_the_same_with_any_number_of_workers(data):
    (expected, again), skipped = validation(data, 0)
    assert [len(batch["indices"]) for batch in expected] == [2, 2, 1, 1] and len(skipped) == 2
    assert equal(expected, again)
    for workers in (1, 3, -1):
        passes, also = validation(data, workers)
        assert also == skipped and all(equal(one, expected) for one in passes)


def equal(one, other):
    assert len(one) == len(other)
    return all(
        torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k]
        for a, b in zip(one, other, strict=True) for k in a
    )  # fmt: skip
