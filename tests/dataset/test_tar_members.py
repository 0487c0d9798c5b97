"""Tars from anywhere: damage of any kind ends in what is whole or in a sentence, never in another clip's bytes."""

import io
import random
import tarfile
import time

import pytest

from dataset.making.shards.tar_samples import read_tars
from dataset.reading.errors import MediaError
from dataset.reading.tar_members import iter_members, read_member

FORMATS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]


def make_tar(form):
    """A tar of five clips of 700 equal bytes each, whose names are long in part."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for k in range(5):
            for suffix, content in (("mp4", bytes([65 + k]) * 700), ("json", b'{"labels": ["a"]}')):
                info = tarfile.TarInfo(("folder/" * 16 if k % 2 else "") + f"clip{k}.{suffix}")
                info.size, info.mtime = len(content), 1.5
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def with_header(content, at, place, field):
    """Change a field of the header in the block around a byte, and correct its checksum."""
    block = bytearray(content[at // 512 * 512 :][:512])
    block[place : place + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return content[: at // 512 * 512] + bytes(block) + content[at // 512 * 512 + 512 :]


@pytest.mark.parametrize("form", FORMATS)
def test_names_and_places_are_those_of_tarfile(tmp_path, form):
    (tmp_path / "a.tar").write_bytes(make_tar(form))
    with tarfile.open(tmp_path / "a.tar") as tar:
        wanted = [(member.name, member.offset_data, member.size) for member in tar]
    assert [tuple(member) for member in iter_members(tmp_path / "a.tar")] == wanted
    content = read_tars([tmp_path / "a.tar"])
    assert list(content.samples) == [f"clip{k}" for k in range(5)] and not content.left_out and not content.damaged
    for k, sample in enumerate(content.samples.values()):
        assert read_member(tmp_path / "a.tar", sample.picture, 700) == bytes([65 + k]) * 700


def test_any_damage_leaves_whole_clips_and_is_told(tmp_path):
    rng, path = random.Random(0), tmp_path / "a.tar"
    fields = [(124, b"\xff" * 12), (124, b"77777777777\0"), (124, b"\x80" + b"\xff" * 11), (156, b"L"), (156, b"x"),
              (156, b"S"), (0, b"/etc/x.mp4\0"), (0, b"../x.mp4\0")]  # fmt: skip
    damaged = 0
    for _ in range(400):
        whole = make_tar(rng.choice(FORMATS))
        at = rng.randrange(len(whole) - 512)
        change = rng.randrange(4)
        if change == 0:
            content = whole[:at]
        elif change == 1:
            content = whole[:at] + rng.randbytes(rng.randrange(1, 600)) + whole[at:]
        elif change == 2:
            content = whole[: at // 512 * 512] + rng.randbytes(512) + whole[at // 512 * 512 + 512 :]
        else:
            content = with_header(whole, at, *rng.choice(fields))
        path.write_bytes(content)
        begin = time.monotonic()
        found = read_tars([path])
        assert time.monotonic() - begin < 5
        assert all("\n" not in str(error) and "a.tar" in str(error) for error in found.damaged)
        assert all(sample.picture.offset + sample.picture.size <= len(content) for sample in found.samples.values())
        damaged += bool(found.damaged)
        if change == 0:  # what is kept of a truncated tar is what it was
            assert found.damaged or len(found.samples) == 5  # cut behind the mark of its end
            for clip, sample in found.samples.items():
                assert read_member(path, sample.picture, 700) == bytes([65 + int(clip[-1])]) * 700
                assert found.labels[clip] == ["a"]
    assert damaged > 200


def test_a_header_that_announces_gigabytes_is_not_read_into_memory(tmp_path):
    content = with_header(make_tar(tarfile.PAX_FORMAT), 0, 124, b"77777777777\0")
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(content)
        file.truncate(2**34)  # takes no space on the disk
    with pytest.raises(MediaError, match=r"is not a tar|damaged or truncated"):
        list(iter_members(tmp_path / "a.tar"))
