"""Shared slots for batches: what is kept is never written over, what is dropped is used again."""

import io
import pickle
from itertools import islice
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from helpers import make_clip, write_genres

from dataset.loading import loader
from dataset.loading.loader import SharedBatch, SharedMemoryPool, make_loader, tensor_view
from dataset.loading.order import EpochBatchSampler
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips


def passed(value):
    """What another process gets that is sent `value`."""
    out = io.BytesIO()
    ForkingPickler(out).dump(value)
    return pickle.loads(out.getvalue())


def filled(ring, slot, number):
    """A batch in a slot, of this number alone; and small parts elsewhere."""
    flat = torch.from_numpy(ring.memory[slot])
    frames, sounds = tensor_view(flat, 0, (3, 4), torch.uint8), tensor_view(flat, 64, (5,), torch.int16)
    frames.fill_(number)
    sounds.fill_(-number)
    return SharedBatch(
        ring, slot, {"frames": frames, "sounds": sounds, "times": torch.tensor([0.5 * number]), "errors": []}
    )


def test_a_slot_is_free_again_when_the_last_tensor_of_its_batch_is_gone():
    ring = SharedMemoryPool(2, 100)
    assert [ring.take(100), ring.take(128), ring.take(1)] == [0, 1, None]
    batch = passed(filled(ring, 1, 7))
    assert batch["frames"].tolist() == [[7] * 4] * 3 and batch["sounds"].tolist() == [-7] * 5
    assert batch["times"].tolist() == [3.5] and batch["errors"] == []
    row = batch["sounds"][2:3]
    del batch
    assert ring.take(1) is None  # a part of it is still held
    del row
    assert ring.take(1) == 1


def test_what_does_not_fit_gets_no_slot():
    ring = SharedMemoryPool(1, 100)
    assert ring.take(129) is None and ring.take(128) == 0


def test_a_batch_outlives_its_ring():
    ring = SharedMemoryPool(1, 100)
    batch = passed(filled(ring, ring.take(10), 3))
    del ring
    assert batch["frames"].unique().tolist() == [3]


@pytest.fixture
def clips(tmp_path):
    for clip in range(4):
        make_clip(tmp_path / "train", f"c{clip}", 1.2, 10, rate=2000)
    write_genres(tmp_path / "train")
    return Clips(tmp_path, "train")


@pytest.mark.parametrize("kept", [True, False])
def test_loader_processes_pass_batches_by_the_ring_and_use_its_slots_again(clips, monkeypatch, kept):
    rings = []
    monkeypatch.setattr(
        loader, "SharedMemoryPool", lambda slots, size: rings.append(SharedMemoryPool(slots, size)) or rings[-1]
    )
    held, places = [], []
    for batch in islice(make_loader(PairDataset(clips, 32, 2000, 0.1), EpochBatchSampler(4, 2, seed=0), 1), 20):
        places.append(batch["frames"].data_ptr() - rings[0].memory.ctypes.data)
        held += [batch] if kept else []
    (ring,) = rings
    inside = [place for place in places if 0 <= place < ring.memory.nbytes]
    if kept:  # each slot once, and what found none free came another way
        assert len(set(inside)) == len(inside) == len(ring.memory)
    else:
        assert len(inside) == 20 > len(set(inside))
