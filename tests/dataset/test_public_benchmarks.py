"""The localisation benchmarks' folders: maps worked out by hand, and the traps of the published files."""

import json
import struct

import numpy as np
import pytest
from helpers import click, tone, write_json, write_sound
from PIL import Image

from dataset.reading.audio import AudioReader
from dataset.reading.benchmarks.boxes import clean_boxes
from dataset.reading.benchmarks.flickr import FlickrSoundNet
from dataset.reading.benchmarks.vggss import VGGSS
from dataset.reading.errors import ClipError
from utils.errors import UserError

ABSURD = -(2**63) / 320  # what a side that was no number became on its way: -2.88e16


def add_clip(root, clip="a", picture=None, sound=None, rate=8000, **options):
    """A frame, wide and grey, and three seconds of a tone."""
    (root / "frames").mkdir(parents=True, exist_ok=True)
    picture = np.full((30, 40, 3), 128, np.uint8) if picture is None else picture
    Image.fromarray(picture).save(root / "frames" / f"{clip}.jpg", quality=95)
    write_sound(root / "audio" / f"{clip}.wav", tone(3, rate) if sound is None else sound, rate, **options)
    return root / "frames" / f"{clip}.jpg", root / "audio" / f"{clip}.wav"


def xml(*boxes):
    """An annotation: one annotator for each box, sides in pixels of the 256 canvas, a name in front of them."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(
        "<annotator><bbox><name>object</name>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, one, strict=True))
        + "</bbox></annotator>"
        for one in boxes
    )
    return f"<annotations>{box}</annotations>"


def flickr(root, **annotations):
    """A Flickr-SoundNet folder with a frame and a wav for each annotation, {id: list of boxes or text}."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for clip, content in annotations.items():
        add_clip(root, clip)
        (root / "Annotations" / f"{clip}.xml").write_text(content if isinstance(content, str) else xml(*content))
    return root


def vggss(root, where="vggss.json", **boxes):
    """A VGG-SS folder with a frame and a wav for each clip, {id: list of boxes}."""
    for clip in boxes:
        add_clip(root, clip)
    write_json(root / where, [{"file": clip, "class": "cat", "bbox": one} for clip, one in boxes.items()])
    return root


# ------------------------------------------------------------------------------------------------------------- maps


def test_flickrs_map_is_what_two_annotators_agree_on(tmp_path):
    boxes = [(0, 0, 128, 128), (64, 0, 192, 64), (64, 0, 256, 64)]  # on a canvas of 256: a pixel of 4 is 64
    truth = FlickrSoundNet(flickr(tmp_path, a=boxes)).truth(0, 4)
    assert truth.dtype == np.float32
    assert truth.tolist() == [
        [0.5, 1.0, 1.0, 0.5],  # one, three (at most 1), two, one
        [0.5, 0.5, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]


def test_vggss_map_is_the_union_of_the_boxes(tmp_path):
    data = VGGSS(vggss(tmp_path, a=[[0, 0.25, 0.5, 0.5], [0.25, 0.25, 0.75, 1]], b=[[0.5, 0, 1, 0.25]]))
    assert data.truth(0, 4).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    assert data.truth(1, 4).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # x before y
    assert data.truth(0, 4).dtype == np.float32 and data.truth(0, 224).shape == (224, 224)


def test_sides_are_rounded_down_as_in_the_published_evaluations(tmp_path):
    flickrs = FlickrSoundNet(flickr(tmp_path / "f", a=[(3, 10, 101, 255)])).truth(0, 224)
    rows, columns = np.nonzero(flickrs)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (2, 8, 88, 223)  # int(224 * side / 256)
    ours = VGGSS(vggss(tmp_path / "v", a=[[0.403125, 0.253125, 0.6, 0.75]])).truth(0, 224)
    rows, columns = np.nonzero(ours)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (90, 56, 134, 168)


def test_a_box_thinner_than_a_pixel_is_still_there(tmp_path):
    data = VGGSS(vggss(tmp_path, a=[[0.92, 0.5, 0.98, 0.501]]))
    assert data.dropped == 0 and np.argwhere(data.truth(0, 10)).tolist() == [[5, 9]]


BOXES = {
    "beyond the frame": ([-0.1, 0.2, 1.3, 0.5], [0, 0.2, 1, 0.5]),
    "absurd": ([ABSURD, ABSURD, ABSURD, ABSURD], None),
    "one absurd side": ([ABSURD, 0.2, 0.5, 0.5], None),
    "absurdly large": ([0, 0, -ABSURD, 0.5], None),
    "no width": ([0.3, 0.1, 0.3, 0.9], None),
    "no height once clipped": ([0.26875, 1.0, 0.753125, 1.2], None),
    "the wrong way round": ([0.6, 0.1, 0.3, 0.9], None),
    "not a number": ([float("nan"), 0, 1, 1], None),
}


@pytest.mark.parametrize(("box", "left"), BOXES.values(), ids=BOXES)
def test_what_is_no_box_is_dropped_and_what_reaches_out_is_clipped(box, left):
    good = [0.1, 0.2, 0.3, 0.4]
    assert clean_boxes([good, box]).tolist() == [good] + ([left] if left else [])
    assert clean_boxes([]).shape == (0, 4)


def test_dropped_boxes_are_counted_and_a_clip_without_any_fails_whatever_on_error_says(tmp_path):
    absurd = [ABSURD] * 4
    root = vggss(tmp_path / "v", a=[absurd, [0, 0, 1, 0.5]], b=[absurd, [0.2, 1, 0.7, 1]], c=[])
    for on_error in ("stop", "skip"):
        data = VGGSS(root, on_error)
        assert data.ids == ["a", "b", "c"] and len(data) == 3 and data.dropped == 3
        assert data.failures == ["b", "c"] and data.skipped == {} and data.has_region == [True] * 3
        assert data.truth(0, 2).tolist() == [[1, 1], [0, 0]] and not data.truth(1, 2).any() | data.truth(2, 2).any()
    data = FlickrSoundNet(flickr(tmp_path / "f", a=[(0, 0, 256, 128), (9, 9, 9, 30)], b=[(5, 5, 2, 2)], c=[]))
    assert data.ids == ["a", "b", "c"] and data.dropped == 2 and data.failures == ["b", "c"]
    assert data.truth(0, 2).tolist() == [[0.5, 0.5], [0, 0]] and not data.truth(1, 2).any()


# ------------------------------------------------------------------------------------------------ frames and sounds


def test_a_frame_is_the_whole_picture_resized(tmp_path):
    picture = np.zeros((48, 128, 3), np.uint8)
    picture[:, :64, 0], picture[:, 64:, 2] = 255, 255  # left red, right blue
    root = vggss(tmp_path, a=[[0, 0, 1, 1]])
    add_clip(root, picture=picture)
    frame = VGGSS(root).frame(0, 40)
    assert frame.shape == (40, 40, 3) and frame.dtype == np.uint8 and frame.flags.writeable
    assert np.abs(frame[:, :18] - [255.0, 0, 0]).max() < 40 and np.abs(frame[:, 22:] - [0, 0, 255.0]).max() < 40
    Image.new("L", (30, 20), 77).save(root / "frames" / "a.jpg")
    grey = VGGSS(root).frame(0, 8)
    assert grey.shape == (8, 8, 3) and np.abs(grey - 77.0).max() < 3


@pytest.mark.parametrize(("native", "rate"), [(8000, 8000), (44100, 16000), (16000, 48000)])
def test_the_sound_is_the_second_in_the_middle(tmp_path, native, rate):
    root = flickr(tmp_path, a=[(0, 0, 9, 9)])
    add_clip(root, sound=click(5, native, 2.7), rate=native)
    sound = FlickrSoundNet(root).sound(0, rate)
    assert sound.shape == (rate,) and sound.dtype == np.int16
    level = np.abs(sound.astype(float))
    assert np.argmax(level > 0.5 * level.max()) / rate == pytest.approx(0.7, abs=1e-3)  # it begins at 2.0 s


def test_a_wav_of_just_a_second_is_taken_as_it_is(tmp_path):
    root = flickr(tmp_path, a=[(0, 0, 9, 9)])
    sound = (1000 * tone(1, 8000)).astype(np.int16)
    add_clip(root, sound=sound)
    assert np.array_equal(FlickrSoundNet(root).sound(0, 8000), sound)


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path):
    """A program that writes to a pipe can't know the length: it puts the largest number into the header."""
    root = flickr(tmp_path, a=[(0, 0, 9, 9)])
    _, wav = add_clip(root, sound=click(3, 8000, 1.7))
    expected, content = FlickrSoundNet(root).sound(0, 8000), wav.read_bytes()
    size = struct.pack("<I", 0xFFFFFFFF)
    wav.write_bytes(content[:4] + size + content[8:40] + size + content[44:])
    assert np.array_equal(FlickrSoundNet(root).sound(0, 8000), expected)


def cut(path):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])


BAD_SOUNDS = {
    "short": (dict(sound=tone(0.9, 8000)), None, "lasts 0.90 s, shorter than one second"),
    "cut short, so that its middle is elsewhere": ({}, cut, "is truncated"),
    "empty": ({}, lambda path: path.write_bytes(b""), "is empty"),
    "no wav": ({}, lambda path: path.write_bytes(b"<html></html>" * 99), "can't be read as a wav"),
    "gone": ({}, lambda path: path.unlink(), "is missing"),
}
BAD_FRAMES = {
    "empty": lambda path: path.write_bytes(b""),
    "no picture": lambda path: path.write_bytes(b"<html></html>"),
    "cut short": cut,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize(("options", "ruin", "reason"), BAD_SOUNDS.values(), ids=BAD_SOUNDS)
def test_a_bad_sound_is_refused_in_one_sentence(tmp_path, options, ruin, reason):
    root = flickr(tmp_path, bad=[(0, 0, 9, 9)], good=[(0, 0, 9, 9)])
    _, wav = add_clip(root, "bad", **options)
    data = FlickrSoundNet(root)
    if ruin:
        ruin(wav)
    with pytest.raises(ClipError, match=reason) as caught:
        data.sound(0, 8000)
    assert caught.value.clip == "bad" and str(caught.value).startswith(str(wav)) and "\n" not in str(caught.value)
    data.sound(1, 8000)


def test_a_silent_sound_is_one_in_a_test_and_none_in_training(tmp_path):
    root = flickr(tmp_path, quiet=[(0, 0, 9, 9)], loud=[(0, 0, 9, 9)])
    _, wav = add_clip(root, "quiet", sound=0 * tone(3, 8000))
    data = FlickrSoundNet(root)
    assert not data.sound(data.ids.index("quiet"), 8000).any() and data.sound(data.ids.index("loud"), 8000).any()
    with pytest.raises(ClipError, match="silent from start to end"), AudioReader("quiet", wav) as reader:
        reader.sound(1.0, 8000)


@pytest.mark.parametrize("ruin", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_bad_frame_is_refused_in_one_sentence(tmp_path, ruin):
    root = vggss(tmp_path, bad=[[0, 0, 1, 1]], good=[[0, 0, 1, 1]])
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    jpg, _ = add_clip(root, "bad", picture=noise)
    data = VGGSS(root)
    ruin(jpg)
    with pytest.raises(ClipError, match=r"can't be read as an image|is missing|is empty") as caught:
        data.frame(0, 16)
    assert caught.value.clip == "bad" and str(caught.value).count(str(jpg)) == 1 and "\n" not in str(caught.value)
    data.frame(1, 16)


# ---------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("kind", ["frames", "audio"])
@pytest.mark.parametrize("which", [FlickrSoundNet, VGGSS])
def test_an_annotation_without_its_files_stops_or_is_left_out(tmp_path, which, kind):
    whole = dict(half=[(0, 0, 256, 256)], whole=[(0, 0, 256, 256)])
    root = (
        flickr(tmp_path, **whole)
        if which is FlickrSoundNet
        else vggss(tmp_path, half=[[0, 0, 1, 1]], whole=[[0, 0, 1, 1]])
    )
    path = next((root / kind).glob("half.*"))
    path.unlink()
    with pytest.raises(ClipError, match=r"lacks .* of clip half: .*on_error skip") as caught:
        which(root)
    assert str(path) in str(caught.value)
    data = which(root, on_error="skip")
    assert data.ids == ["whole"] and list(data.skipped) == ["half"] and str(path) in data.skipped["half"]
    (root / kind).rename(root / "elsewhere")
    with pytest.raises(UserError, match="has no annotated clip"):
        which(root, on_error="skip")


def test_ids_are_sorted_and_maps_follow_them_and_other_files_are_passed_over(tmp_path):
    root = flickr(tmp_path, b=[(0, 0, 128, 256)], a=[(128, 0, 256, 256)])
    add_clip(root, "unannotated")
    (root / "Annotations" / "._a.xml").write_bytes(b"\0\5\26\7")  # what a Mac leaves beside a file
    (root / "Annotations" / "notes.txt").write_text("")
    data = FlickrSoundNet(root)
    assert data.ids == ["a", "b"] and data.skipped == {} and len(data) == 2
    assert data.truth(0, 2).tolist() == [[0, 0.5]] * 2 and data.truth(1, 2).tolist() == [[0.5, 0]] * 2


def test_flickrs_list_chooses_the_clips_that_count(tmp_path):
    whole = [(0, 0, 256, 256)]
    root = flickr(tmp_path, **{"10000130166": whole, "10007936344": whole, "3": "not even XML"})
    (root / "flickr_test.csv").write_text("10007936344,202\n\n10000130166,0\n")
    assert FlickrSoundNet(str(root)).ids == ["10000130166", "10007936344"]
    (root / "Annotations" / "10007936344.xml").unlink()
    with pytest.raises(ClipError, match=r"lacks .*Annotations/10007936344.xml"):
        FlickrSoundNet(root)
    assert list(FlickrSoundNet(root, "skip").skipped) == ["10007936344"]
    for text in ("../3,0\n", "/etc/passwd\n", "..\n"):
        (root / "flickr_test.csv").write_text(text)
        with pytest.raises(UserError, match=r"flickr_test.csv holds .* which is not an id"):
            FlickrSoundNet(root, "skip")


def test_vggss_json_may_lie_where_others_keep_it_and_name_a_clip_twice(tmp_path):
    root = vggss(tmp_path, "metadata/vggss.json", a=[[0, 0, 0.5, 0.5]])
    assert VGGSS(root).ids == ["a"]
    write_json(root / "vggss.json", [{"file": "a", "bbox": [box]} for box in ([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1])])
    data = VGGSS(root)
    assert data.ids == ["a"] and data.truth(0, 2).tolist() == [[1, 0], [0, 1]]


BOMB = '<!DOCTYPE a [<!ENTITY x0 "ha">' + "".join(
    f'<!ENTITY x{k} "{f"&x{k - 1};" * 10}">' for k in range(1, 12)
) + "]><a>&x11;</a>"  # fmt: skip
XML = {
    "empty": "",
    "cut short": xml((0, 0, 9, 9))[:60],
    "JSON": "[]",
    "a side in words": xml(("left", 0, 9, 9)),
    "an empty side": xml(("", 0, 9, 9)),
    "too few sides": "<a><bbox><xmin>1</xmin><ymin>2</ymin></bbox></a>",
    "an unknown encoding": '<?xml version="1.0" encoding="nonesuch"?><a/>',
    "a billion laughs": BOMB,
    "an entity from outside": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><bbox>&x;</bbox></a>',
    "a DOCTYPE alone": "<!DOCTYPE a>" + xml((0, 0, 9, 9)),
    "a DOCTYPE in another encoding": ("<!DOCTYPE a>" + xml((0, 0, 9, 9))).encode("utf-16"),
}


@pytest.mark.parametrize("content", XML.values(), ids=XML)
def test_an_annotation_that_is_not_of_our_form_is_refused_in_one_sentence(tmp_path, content):
    root = flickr(tmp_path, a=[(0, 0, 9, 9)])
    path = root / "Annotations" / "a.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for on_error in ("stop", "skip"):  # no clip is at fault: skipping doesn't help
        with pytest.raises(UserError, match="is not a valid annotation") as caught:
            FlickrSoundNet(root, on_error)
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message and len(message) < len(str(path)) + 200
        assert ("has a DOCTYPE" in message) == (b"D\0O" in path.read_bytes() or b"<!DOC" in path.read_bytes())


WHOLE = [0, 0, 1, 1]
JSON = {
    "missing": None,
    "not JSON": "[{",
    "a table": {"a": [WHOLE]},
    "a text": ["a"],
    "no file": [{"bbox": [WHOLE]}],
    "a file that leads out of the folder": [{"file": "../a", "bbox": [WHOLE]}],
    "the folder above": [{"file": "..", "bbox": [WHOLE]}],
    "an absolute path": [{"file": "/etc/a", "bbox": [WHOLE]}],
    "a number for a file": [{"file": 5, "bbox": [WHOLE]}],
    "no boxes": [{"file": "a"}],
    "one box, not a list of them": [{"file": "a", "bbox": WHOLE}],
    "three sides": [{"file": "a", "bbox": [[0, 0, 1]]}],
    "a side in words": [{"file": "a", "bbox": [["0", 0, 1, 1]]}],
    "a side that is true": [{"file": "a", "bbox": [[True, 0, 1, 1]]}],
    "an endless integer": [{"file": "a", "bbox": [[10**400, 0, 1, 1]]}],
    "a good entry, then a bad one": [{"file": "a", "bbox": [WHOLE]}, None],
}


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_a_vggss_json_that_is_not_of_our_form_is_refused_in_one_sentence(tmp_path, content):
    root = vggss(tmp_path, a=[WHOLE])
    path = root / "vggss.json"
    path.unlink()
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=r'it must hold \[\{"file": id') as caught:
            VGGSS(root, on_error)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for which in (FlickrSoundNet, VGGSS):
        with pytest.raises(UserError, match=f"there is no benchmark folder {tmp_path}/nowhere"):
            which(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"Annotations is missing"):
        FlickrSoundNet(vggss(tmp_path / "v", a=[WHOLE]))
