"""Batches: frame and sound of one instant, everything random from (seed, epoch, clip), and no shortcut."""

import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from helpers import make_clip, make_dataset, numbered, read_number, write_genres

from dataset.loading.loader import collate, drop_unreadable, make_loader
from dataset.loading.order import EpochBatchSampler, sequential_batches
from dataset.pairs import PairDataset, sample_times
from dataset.random_stream import sample_seed
from dataset.reading.clip_reader import ClipReader
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from models.losses import avc_loss
from utils.errors import UserError

CLIPS, SECONDS, RATE, FPS = 12, 2.0, 2000, 25
SAMPLES = round(SECONDS * RATE)  # of a clip
INSTANT = dict(resize_size=32, sample_rate=RATE, frame_step=0.04)


def ramp(clip):
    """A sound in which every sample tells where it is: int16."""
    return (np.arange(SAMPLES) + clip * SAMPLES - 30000).astype(np.int16)


def where(sound):
    """(clip, first sample) of a cut of a `ramp`."""
    assert (np.diff(sound.astype(int)) == 1).all()
    return divmod(int(sound[0]) + 30000, SAMPLES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve clips whose every picture and every sample tell the clip and the time."""
    root = tmp_path_factory.mktemp("pairs")
    for clip in range(CLIPS):
        pictures = [numbered(64 * clip + k) for k in range(round(SECONDS * FPS))]
        make_clip(root / "train", f"{clip:02d}", SECONDS, FPS, rate=RATE, pictures=pictures, sound=ramp(clip))
    write_genres(root / "train")
    return root


@pytest.fixture
def clips(root):
    return Clips(root, "train")


def keys(epochs):
    return [(epoch, index) for epoch in range(epochs) for index in range(CLIPS)]


def same(ours, theirs):
    """Whether two collated batches are equal to the last bit."""
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], theirs[key]) if torch.is_tensor(ours[key]) else ours[key] == theirs[key] for key in ours
    )


# ---------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("cache_gb", [0, 0.01])
@pytest.mark.parametrize("misalignment", [0.0, 0.3, 1.0])
def test_frame_and_sound_are_of_one_instant_up_to_the_misalignment(clips, misalignment, cache_gb):
    pairs = PairDataset(clips, **INSTANT, misalignment=misalignment, seed=3, cache_gb=cache_gb)
    shifts = []
    for epoch, index in keys(15):
        sample = pairs[epoch, index]
        assert sample["frame"].shape == (32, 32, 3) and sample["frame"].dtype == np.uint8
        assert sample["sound"].shape == (RATE,) and sample["sound"].dtype == np.int16
        assert sample["seed"] == sample_seed(3, epoch, clips.ids[index])
        clip, picture = divmod(read_number(sample["frame"]), 64)
        clip_heard, start = where(sample["sound"])
        assert clip == clip_heard == sample["index"] == index
        assert picture == round(sample["time"] * FPS)  # a frame time is a multiple of the step, and the frame is its
        assert sample["time"] == pytest.approx(picture / FPS, abs=1e-9) and 0.5 <= sample["time"] <= 1.5
        # The sound's mid-point, unless the clip's end moved it inside.
        middle = start / RATE + 0.5
        if 0 < start < SAMPLES - RATE:
            assert abs(middle - sample["time"]) <= misalignment + 0.5 / RATE
        shifts.append(middle - sample["time"])
    if misalignment:
        free = [shift for shift in shifts if abs(shift) < misalignment]
        assert min(free) < -0.6 * min(misalignment, 0.5) and max(free) > 0.6 * min(misalignment, 0.5)
    else:
        assert np.abs(shifts).max() < 1e-9


@pytest.mark.parametrize("cache_gb", [0, 0.01])
def test_all_instants_of_a_clip_are_visited_evenly(clips, cache_gb):
    pairs = PairDataset(clips, **(INSTANT | {"frame_step": 0.2}), cache_gb=cache_gb)
    seen = Counter(round(pairs[key]["time"], 6) for key in keys(25))
    assert sorted(seen) == pytest.approx([0.6, 0.8, 1.0, 1.2, 1.4])
    assert min(seen.values()) > 0.7 * 300 / 5 and max(seen.values()) < 1.3 * 300 / 5


def test_a_sample_depends_on_seed_epoch_and_clip_alone(clips):
    first, again, other = (PairDataset(clips, **INSTANT, misalignment=0.3, seed=seed) for seed in (1, 1, 2))
    ours = [first[key] for key in keys(3)]
    for key, sample in reversed(list(zip(keys(3), ours, strict=True))):  # another order of visits
        assert same(collate([again[key]]), collate([sample]))
    seeds = [sample["seed"] for sample in ours] + [other[key]["seed"] for key in keys(3)]
    assert len(set(seeds)) == len(seeds)  # every seed, epoch and clip has its own


def test_labels_and_boxes_are_never_looked_at(clips):
    del clips.labels, clips.boxes
    pairs = PairDataset(clips, **INSTANT)
    batch = next(iter(make_loader(pairs, EpochBatchSampler(CLIPS, 4, seed=0), workers=0)))
    assert batch["indices"].shape == (4,) and batch["errors"] == []


@pytest.mark.parametrize(
    ("first", "last", "step", "wanted"),
    [
        (0.5, 1.5, 0.2, [0.6, 0.8, 1.0, 1.2, 1.4]),
        (0.5, 1.5, 0.1, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]),  # both ends, in spite of rounding
        (0.5, 0.62, 0.04, [0.52, 0.56, 0.6]),
        (0.5, 0.5, 0.25, [0.5]),
        (0.6, 1.4, 0.2, [0.6, 0.8, 1.0, 1.2, 1.4]),  # 1.4 / 0.2 is a little less than 7
        (0.3, 0.5, 0.1, [0.3, 0.4, 0.5]),
        (0.15 + 0.15 + 1e-9, 0.5, 0.1, [0.3, 0.4, 0.5]),  # a start that is late by less than any clock's tick
        (0.5, 0.55, 0.2, [0.5]),  # no multiple fits: the first time alone
        (0.5, 3.0, 1.0, [1.0, 2.0, 3.0]),
    ],
)
def test_instants_are_the_multiples_of_the_step(first, last, step, wanted):
    assert sample_times(first, last, step) == pytest.approx(wanted, abs=1e-12)


# ---------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("options", [{}, {"cache_gb": 0.01}, {"off_grid": True}, {"frames": 9}, {"misalignment": 0.5}])
def test_a_batch_fetched_whole_equals_its_samples_stacked(clips, options):
    pairs = PairDataset(clips, **INSTANT, seed=4, **options)
    wanted = [(7, index) for index in (3, 0, 11, 5)]
    (batch,) = pairs.load_batches(wanted)
    assert same(batch, collate([pairs[key] for key in wanted]))
    assert len(batch["sounds"]) == (8 if "off_grid" in options else 4)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
@pytest.mark.parametrize(("cache_gb", "visit"), [(0, 1), (0.01, 1), (0, 4), (0.01, 4)])
def test_the_number_of_workers_and_a_restart_change_no_batch(clips, cache_gb, visit):
    """Three epochs of three visits, from the beginning and from the middle, by 0, 1, 2 and 4 processes.

    All batches are kept to the end: none may be written over by a later one.
    """
    count = 9 * visit

    def batches(workers, start):
        pairs = PairDataset(clips, **INSTANT, misalignment=0.3, seed=5, cache_gb=cache_gb)
        order = EpochBatchSampler(CLIPS, 4, seed=5, samples_per_decode=visit)
        assert order.per_epoch == 3 * visit
        return list(islice(make_loader(pairs, order.starting_at(start), workers), count - start))

    whole = batches(0, 0)
    assert len({batch["seeds"].numpy().tobytes() for batch in whole}) == count
    for workers, start in ((1, 0), (2, 0), (4, 0), (0, 4), (2, 5), (1, count - 3), (0, count - 1)):
        part = batches(workers, start)
        assert len(part) == count - start
        assert all(same(ours, theirs) for ours, theirs in zip(part, whole[start:], strict=True))


def test_a_visit_opens_each_clip_once_for_several_batches_of_one_sample_each(clips, monkeypatch):
    opened, open_clip = [], clips.open
    monkeypatch.setattr(clips, "open", lambda index: opened.append(index) or open_clip(index))
    pairs = PairDataset(clips, **INSTANT, misalignment=0.3, seed=6)
    order = EpochBatchSampler(CLIPS, 4, seed=6, samples_per_decode=5)
    batches = list(islice(make_loader(pairs, order, 0), 30))
    assert sorted(opened) == sorted(list(range(CLIPS)) * 2)  # two epochs
    numbers = Counter()
    for k, batch in enumerate(batches):
        found = batch["indices"].tolist()
        assert len(set(found)) == 4  # never two samples of one clip in a batch
        # Each is what the sample of this number is when it is read alone.
        assert same(batch, collate([pairs[numbers[index], index] for index in found]))
        numbers.update(found)
        if k % 5:
            assert found == batches[k - 1]["indices"].tolist()
    assert set(numbers.values()) == {10}
    visits = [batch["indices"].tolist() for batch in batches[::5]]
    assert visits[:3] != visits[3:]  # every epoch in a new order
    instants_of_one = {batch["times"][batch["indices"] == 0].item() for batch in batches[:15] if 0 in batch["indices"]}
    assert len(instants_of_one) > 1


@pytest.mark.parametrize(("multiple", "visit", "visits"), [(1, 3, 5), (2, 3, 4), (4, 2, 4), (4, 4, 5), (3, 6, 5)])
def test_an_epoch_of_visits_holds_a_multiple_of_the_batches_of_an_update(multiple, visit, visits):
    order = EpochBatchSampler(11, 2, seed=0, multiple=multiple, samples_per_decode=visit)
    assert order.per_epoch == visits * visit and order.per_epoch % multiple == 0
    keys = list(islice(order, 2 * visits))
    assert {number for fetched in keys[:visits] for number, _ in fetched} == set(range(visit))
    assert {number for fetched in keys[visits:] for number, _ in fetched} == set(range(visit, 2 * visit))


@pytest.mark.parametrize(("size", "multiple", "per_epoch"), [(4, 1, 3), (5, 1, 2), (12, 1, 1), (2, 4, 4), (5, 2, 2)])
def test_an_epoch_visits_a_clip_at_most_once_in_a_new_order(size, multiple, per_epoch):
    order = EpochBatchSampler(CLIPS, size, seed=1, multiple=multiple)
    assert order.per_epoch == per_epoch
    batches = list(islice(order, 40 * per_epoch))
    visits = Counter(index for batch in batches for _, index in batch)
    orders = set()
    for epoch in range(40):
        part = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert all(len(batch) == size and {number for number, _ in batch} == {epoch} for batch in part)
        seen = [index for batch in part for _, index in batch]
        assert len(set(seen)) == len(seen) == size * per_epoch
        orders.add(tuple(seen))
    assert len(orders) == 40
    assert len(visits) == CLIPS  # the clips left out change from epoch to epoch
    assert list(islice(EpochBatchSampler(CLIPS, size, seed=2, multiple=multiple), 3)) != batches[:3]


def test_evaluation_takes_every_clip_once_in_order_at_one_fixed_instant(clips):
    batches = sequential_batches(CLIPS, 5)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert [index for batch in batches for _, index in batch] == list(range(CLIPS))
    pairs = PairDataset(clips, **INSTANT)
    reader = make_loader(pairs, batches, workers=1)
    once, again = list(reader), list(reader)  # validation after validation, with the same processes
    assert len(once) == 3 and all(same(a, b) for a, b in zip(once, again, strict=True))
    assert torch.cat([batch["indices"] for batch in once]).tolist() == list(range(CLIPS))


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_every_second_of_sound_serves_in_its_match_and_in_mismatches_with_equal_weight(negatives):
    """The paper's shortcut is closed: how a sound or a frame was cut says nothing about whether it matches.

    At logits of 0 each pair's pull on the loss is its weight: -1/2 for a match, +1/2 for a mismatch, times its share.
    """
    logits = torch.zeros(6, 6, requires_grad=True)
    avc_loss(logits, negatives)[0].backward()
    weight = 4 * logits.grad
    match = weight.diagonal()
    assert match.tolist() == pytest.approx([-1 / 6] * 6)
    mismatch = weight - torch.diag(match)
    assert (mismatch >= 0).all()
    assert mismatch.sum(0).tolist() == pytest.approx([1 / 6] * 6)  # of each sound
    assert mismatch.sum(1).tolist() == pytest.approx([1 / 6] * 6)  # of each frame


# ------------------------------------------------------------------------------------------------- unreadable clips


@pytest.fixture
def damaged(tmp_path):
    """Eight clips, of which the fourth's video and the sixth's sound can't be read."""
    folder = tmp_path / "damaged" / "train"
    for clip in range(8):
        make_clip(folder, f"c{clip}", 1.2, 10, rate=RATE)
    (folder / "video" / "c3.mp4").write_bytes(b"")
    (folder / "audio" / "c5.wav").write_bytes(b"nothing that sounds")
    write_genres(folder)
    return Clips(tmp_path / "damaged", "train")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cache_gb", [0, 0.01])
def test_an_unreadable_clip_is_left_out_and_nothing_takes_its_place(damaged, cache_gb, workers):
    pairs = PairDataset(damaged, **INSTANT, cache_gb=cache_gb)
    noted = []
    batches = list(
        drop_unreadable(make_loader(pairs, sequential_batches(8, 4), workers), lambda *what: noted.append(what))
    )
    assert [batch["indices"].tolist() for batch in batches] == [[0, 1, 2], [4, 6, 7]]
    for batch in batches:
        assert len(batch["frames"]) == len(batch["sounds"]) == len(batch["seeds"]) == len(batch["times"]) == 3
        for frame, sound, index in zip(batch["frames"], batch["sounds"], batch["indices"].tolist(), strict=True):
            good = pairs[0, index]
            assert np.array_equal(frame, good["frame"]) and np.array_equal(sound, good["sound"])
    assert [clip for clip, _ in noted] == ["c3", "c5"]
    assert "c3.mp4 is empty" in noted[0][1] and "c5.wav can't be read as a wav" in noted[1][1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clip_that_is_damaged_at_one_instant_is_left_out_of_all_batches_of_the_visit(clips, monkeypatch, workers):
    frames, said = ClipReader.frames, "video/02.mp4 is damaged at 1.04 s"

    def damaged_after_one_second(clip, times, size):
        if clip.clip == "02" and max(times) > 1.0:
            raise ClipError("02", "damaged", "video/02.mp4", "is damaged at 1.04 s")
        return frames(clip, times, size)

    monkeypatch.setattr(ClipReader, "frames", damaged_after_one_second)
    pairs = PairDataset(clips, **INSTANT, seed=0)
    alone = ["error" in pairs[number, 2] for number in range(6)]
    assert any(alone) and not all(alone)
    batches = list(
        islice(make_loader(pairs, EpochBatchSampler(CLIPS, CLIPS, seed=0, samples_per_decode=6), workers), 6)
    )
    for batch in batches:
        assert sorted(batch["indices"].tolist()) == [0, 1, *range(3, CLIPS)]
        assert batch["errors"] == [("02", f"{said}: fix or remove clip 02, or pass --data.on_error skip")]
        assert len(batch["frames"]) == len(batch["sounds"]) == CLIPS - 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_clip_stops_with_its_name_where_the_caller_raises(damaged, workers):
    def stop(clip, message):
        raise UserError(f"{clip}: {message}")

    with pytest.raises(UserError, match=r"c3: .*c3\.mp4 is empty"):
        list(drop_unreadable(make_loader(PairDataset(damaged, **INSTANT), sequential_batches(8, 4), workers), stop))


def test_a_batch_with_too_few_readable_clips_stops_and_says_why(damaged):
    batches = [[(0, 3), (0, 4)], [(0, 0), (0, 1)]]
    pairs = PairDataset(damaged, **INSTANT)
    with pytest.raises(UserError, match=r"needs 2 readable clips and has 1: .*c3\.mp4 is empty"):
        list(drop_unreadable(make_loader(pairs, batches, 0), lambda *_: None, min_clips=2))
    assert len(list(drop_unreadable(make_loader(pairs, batches, 0), lambda *_: None, min_clips=1))) == 2
    nothing = next(drop_unreadable(make_loader(pairs, [[(0, 3), (0, 5)]], 0), lambda *_: None, min_clips=0))
    assert len(nothing["indices"]) == 0 and [clip for clip, _ in nothing["errors"]] == ["c3", "c5"]


def test_a_script_that_fails_ends_although_its_loaders_ignore_signals(tmp_path):
    """Python sends its children SIGTERM at exit and waits for them: without help for ever."""
    make_dataset(tmp_path, train=4, val=0, test=0)
    program = f"""
from dataset.loading.loader import make_loader
from dataset.loading.order import sequential_batches
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips
batches = make_loader(PairDataset(Clips({str(tmp_path)!r}, "train"), 32, 8000, 0.04), sequential_batches(4, 2), 2)
for batch in batches:
    raise RuntimeError("a fault of the program")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.strip().endswith("RuntimeError: a fault of the program")
