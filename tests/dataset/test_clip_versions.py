"""What identifies the content of a clip: it changes with the clip's files and with nothing else."""

import os
import shutil

import numpy as np
import pytest
from helpers import make_dataset

from data import build_shards
from dataset.reading.clips import Clips, SplitClips
from dataset.reading.reader import open_clips


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("clips") / "clips", train=3, val=0, test=0)


def versions(root):
    clips = open_clips(root, "train")
    return [clips.version(index) for index in range(len(clips))]


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_clip_of_a_folder_has_another_version_after_either_file_has_changed(source, tmp_path, kind):
    root = shutil.copytree(source, tmp_path / "clips")
    before = versions(root)
    assert before == versions(root)
    path = sorted((root / "train" / kind).iterdir())[1]
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    after = versions(root)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_clips_of_shards_have_the_hash_of_their_shard(source, tmp_path):
    for name, rate in (("one", 8000), ("two", 4000)):
        build_shards.main([str(source), str(tmp_path / name), "--size", "32", "--rate", str(rate), "--workers", "1"])
    one = versions(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert len(set(one)) == 3 and one == versions(tmp_path / "copy")
    assert not {*one} & {*versions(tmp_path / "two")}


class OwnReader(SplitClips):
    """A reader of another format, which says nothing about versions."""

    def __init__(self, clips):
        super().__init__(clips.folder, {clip: [] for clip in clips.ids}, {}, {})
        self.clips = clips

    def open(self, index):
        return self.clips.open(index)


def test_a_reader_of_another_format_has_the_version_of_the_files_that_it_opens(source, tmp_path):
    root = shutil.copytree(source, tmp_path / "clips")
    clips = OwnReader(Clips(root, "train"))
    before = clips.version(0)
    assert before == Clips(root, "train").version(0)
    path = sorted((root / "train/audio").iterdir())[0]
    path.write_bytes(path.read_bytes() + np.zeros(10, np.uint8).tobytes())
    assert clips.version(0) != before
    path.write_bytes(b"nothing")
    assert clips.version(0) == "damaged"
