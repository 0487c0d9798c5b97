"""The interface of a dataset reader: our own readers have it, and another one plugs in with one entry."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from helpers import make_clip, make_dataset, numbered, read_number, tone, write_genres, write_json, write_sound
from kill_and_resume import SMALL

import eval as evaluate
import train_AVENet
from dataset.loading.loader import drop_unreadable, make_loader
from dataset.loading.order import sequential_batches
from dataset.pairs import PairDataset
from dataset.reading import reader
from dataset.reading.audio import AudioReader
from dataset.reading.clips import Clips, SplitClips
from dataset.reading.reader import ClipDataset, OpenClip, open_clips
from dataset.reading.shards import ShardedClips
from utils.errors import UserError

FPS, RATE = 10, 8000

# A reader of another layout: SPLIT/index.json {id: {"labels": [mid, ...], "boxes": [...]}}, a JPEG for each frame and a
# wav for each clip, SPLIT/ID/000.jpg, 001.jpg, ..., SPLIT/ID/sound.wav.


class JpegClip(AudioReader):
    """One folder of JPEGs and its wav."""

    def __init__(self, clip, folder):
        super().__init__(clip, folder / "sound.wav")
        self.video_file = folder

    def _open(self):
        super()._open()
        self._files = sorted(self.video_file.glob("*.jpg"))
        self.video_end = len(self._files) / FPS - 1e-3
        self.first, self.last = 0.5, min(self.sound_seconds - 0.5, self.video_end)

    def frame(self, time, size):
        file = self._files[min(int(time * FPS + 1e-6), len(self._files) - 1)]
        try:
            frame = simplejpeg.decode_jpeg(file.read_bytes())
        except ValueError as error:
            raise self._error("damaged", file, f"is damaged ({error})") from error
        rows, columns = (np.arange(size) * side // size for side in frame.shape[:2])
        return frame[rows][:, columns]

    def frames(self, times, size):
        return np.stack([self.frame(time, size) for time in times])

    def frame_stack(self, time, count, size):
        raise self._error("short", self.video_file, f"keeps {FPS} frames a second")


class JpegFolders(SplitClips):
    """The clips of one split."""

    def __init__(self, root, split, on_error="stop"):
        folder = Path(root) / split
        index = json.loads((folder / "index.json").read_text())
        labels = {clip: entry["labels"] for clip, entry in index.items()}
        super().__init__(folder, labels, {clip: entry["boxes"] for clip, entry in index.items()}, skipped={})

    @classmethod
    def recognizes(cls, root):
        return any(Path(root).glob("*/index.json"))

    def open(self, index):
        return JpegClip(self.ids[index], self.folder / self.ids[index])


def to_jpeg_folders(source, target):
    """Convert a dataset folder to the other layout."""
    for split in sorted(path.name for path in source.iterdir()):
        clips = Clips(source, split)
        for index, clip in enumerate(clips.ids):
            with clips.open(index) as opened:
                (target / split / clip).mkdir(parents=True)
                for k in range(int(opened.video_end * FPS) + 1):
                    picture = simplejpeg.encode_jpeg(opened.frame(k / FPS, 64), 95)
                    (target / split / clip / f"{k:03d}.jpg").write_bytes(picture)
            shutil.copy(source / split / "audio" / f"{clip}.wav", target / split / clip / "sound.wav")
        table = {
            clip: {"labels": labels, "boxes": clips.boxes.get(clip, [])}
            for clip, labels in zip(clips.ids, clips.labels, strict=True)
        }
        write_json(target / split / "index.json", table)
    return target


@pytest.fixture
def plugged_in(monkeypatch):
    monkeypatch.setattr(reader, "READERS", [JpegFolders, *reader.READERS])


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Three clips of two seconds, whose pictures show their numbers, in our format."""
    root = tmp_path_factory.mktemp("numbers")
    for clip in range(3):
        pictures = [numbered(100 * clip + k) for k in range(2 * FPS)]
        make_clip(root / "train", f"c{clip}", fps=FPS, rate=RATE, pictures=pictures, pitch=200.0 * (clip + 1))
    write_genres(root / "train")
    return root


def test_every_reader_has_the_interface(numbers, tmp_path, make_shards, plugged_in):
    shards = tmp_path / "shards"
    make_shards(numbers, shards)
    jpegs = to_jpeg_folders(numbers, tmp_path / "jpegs")
    for root, kind in ((numbers, Clips), (shards, ShardedClips), (jpegs, JpegFolders)):
        clips = open_clips(root, "train")
        assert type(clips) is kind and isinstance(clips, ClipDataset) and len(clips) == 3
        assert clips.folder.name == "train" and clips.ids == ["c0", "c1", "c2"] and clips.skipped == {}
        with clips.open(1) as clip:
            assert isinstance(clip, OpenClip) and clip.clip == "c1"
            assert (clip.first, clip.last) == (0.5, pytest.approx(1.5)) and clip.video_end == pytest.approx(2, abs=0.01)
            assert [read_number(frame) for frame in clip.frames([0.6, 0.8], 48)] == [106, 108]
            assert read_number(clip.frame(0.8, 32)) == 108
            assert len(clip.full_waveform(RATE)) == clip.num_samples(RATE) == 2 * RATE
            assert np.array_equal(clip.sound(1.0, RATE), clip.waveform(RATE // 2, RATE, RATE))
    assert not isinstance(nullcontext(), OpenClip)


def test_the_first_reader_that_recognizes_a_root_reads_it(numbers, tmp_path):
    with pytest.raises(UserError, match=r"vid2genre\.json is missing"):  # nobody knows this layout yet
        open_clips(to_jpeg_folders(numbers, tmp_path / "jpegs"), "train")


@pytest.mark.parametrize("workers", [0, 1])
def test_pairs_of_a_plugged_in_reader_are_read_and_damage_is_named(numbers, tmp_path, plugged_in, workers):
    jpegs = to_jpeg_folders(numbers, tmp_path / "jpegs")
    for picture in (jpegs / "train" / "c1").glob("*.jpg"):
        picture.write_bytes(b"not a picture")
    write_sound(jpegs / "train" / "c2" / "sound.wav", 0 * tone(2, RATE), RATE)
    skipped = {}
    pairs = PairDataset(open_clips(jpegs, "train"), 48, RATE, 0.1)
    (batch,) = drop_unreadable(make_loader(pairs, sequential_batches(3, 3), workers), skipped.__setitem__)
    assert batch["indices"].tolist() == [0] and batch["sounds"].shape == (1, RATE)
    assert read_number(batch["frames"][0].numpy()) == round(batch["times"].item() * FPS)
    assert "c1/" in skipped["c1"] and "is damaged" in skipped["c1"] and "--data.on_error skip" in skipped["c1"]
    assert "c2/sound.wav is silent" in skipped["c2"]


def test_a_plugged_in_reader_trains_and_evaluates(tmp_path, plugged_in, capsys):
    root = to_jpeg_folders(make_dataset(tmp_path / "clips", train=8, val=4, test=6, fps=FPS), tmp_path / "jpegs")
    settings = SMALL | {"data.root": root, "train.run_dir": tmp_path / "run", "train.epochs": 1, "data.frame_step": 0.1}
    words = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    train_AVENet.main(["--config", "configs/demo_AVENet.py", *words])
    metrics = evaluate.main(["--checkpoint", str(tmp_path / "run" / "best.pt")])
    assert metrics["clips"] == 6 and metrics["skipped"] == 0
    assert {"avc", "retrieval"} <= metrics.keys()  # the labels come from the reader, too
