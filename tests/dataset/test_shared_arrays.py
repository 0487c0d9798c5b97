"""Long lists in arrays: the same as lists, in few bytes, and not copied by processes that read them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataset.loading import shared_memory
from dataset.loading.shared_memory import SPARE, fit_memory
from dataset.reading.shared_arrays import PackedLabels, PackedTexts, shared_array
from evaluation.speed.growth import loader as growth_loader
from evaluation.speed.growth import shards as growth_shards

TEXTS = ["", "abc", "späť 音", "\udcff", "x" * 300, "abc"]
LABELS = [[], ["/m/1", "/m/2"], ["/m/2"], ["/m/1", "/m/2"], ["/m/2", "/m/2"]]


@pytest.mark.parametrize(("kind", "elements"), [(PackedTexts, TEXTS), (PackedLabels, LABELS)])
def test_they_are_the_sequences_that_they_were_made_of(kind, elements):
    packed = kind(iter(elements))
    assert len(packed) == len(elements) and list(packed) == elements == packed and packed == kind(elements)
    assert packed != elements[1:] and packed != [*elements[:-1], elements[0]] and packed != "abc"
    assert packed[-1] == elements[-1] and packed[1:4] == elements[1:4] and packed[::-2] == elements[::-2]
    assert elements[2] in packed and packed.index(elements[2]) == 2 and list(reversed(packed)) == elements[::-1]
    assert repr(packed) == repr(elements) and kind([]) == []
    for index in (len(elements), -len(elements) - 1):
        with pytest.raises(IndexError, match="is not one of"):
            packed[index]


def test_a_clip_takes_some_thirty_bytes():
    clips = growth_loader.made_up_clips(10_000)
    parts = [part for packed in (clips.ids, clips.labels) for part in vars(packed).values()]
    assert sum(map(sys.getsizeof, parts)) < 45 * len(clips)


def test_an_empty_array_is_shared_too():
    assert len(shared_array(0, float)) == 0


@pytest.mark.slow
def test_a_worker_has_less_than_20_mb_of_its_own_at_a_million_ids():
    # In a process of its own: what the tests before this one have left would count, too.
    words = [sys.executable, "-m", "evaluation.speed.growth", "--child", "loader", "1000000"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    used = json.loads(done.stdout.splitlines()[-1])
    assert used["megabytes"] < 20 and used["megabytes_of_clips"] < 8


@pytest.mark.slow
def test_a_visit_takes_as_long_with_a_hundred_times_the_shards():
    few, many = growth_shards.measure(1_000), growth_shards.measure(100_000)
    assert many["visits_cpu_seconds"] < 1.5 * few["visits_cpu_seconds"]


@pytest.mark.parametrize(
    ("workers", "megabytes", "ahead", "expected"),
    [(4, 20, 4, (4, 4)), (16, 50, 4, (16, 2)), (16, 300, 4, (16, 1)), (16, 600, 2, (11, 1)), (2, 9000, 4, (1, 1)),
     (8, 0, 4, (8, 4)), (0, 600, 4, (0, 4))],
)  # fmt: skip
def test_batches_that_are_loaded_at_the_same_time_fit_into_a_quarter_of_the_memory(
    monkeypatch, capsys, workers, megabytes, ahead, expected
):
    monkeypatch.setattr(shared_memory, "available_memory", lambda device: 32 * 10**9)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    fitting, prefetch = fit_memory(workers, megabytes * 10**6, ahead)
    assert (fitting, prefetch) == expected
    assert fitting < 2 or (fitting * prefetch + SPARE) * megabytes <= 8000
    said = capsys.readouterr().err
    assert (f"{fitting} of {workers} loader processes" in said) == (fitting < workers) and said.count("\n") <= 1
