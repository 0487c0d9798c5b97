"""The folders of IS3, VPO-MS and AVSBench: which rows they have, and what is said of files that are wrong."""

import json

import numpy as np
import pytest
from helpers import click, tone, write_json, write_sound
from PIL import Image

from dataset.reading.benchmarks.avsbench import AVSBenchMS3, AVSBenchS4
from dataset.reading.benchmarks.sound_pairs import IS3, VPOMS
from dataset.reading.errors import ClipError
from utils.errors import UserError

NAMES = ["accordion_baby_10467_accordion", "accordion_baby_10467_baby", "dog_train_2_dog", "dog_train_2_steam train"]


def add_picture(path, shade=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(path)


def pair(image, box=(0, 0, 112, 112), audio=None, **more):
    """An entry of the annotations, with the paths of somebody's machine."""
    audio = audio or f"{image[:-4]}.wav"
    return {"image": f"/data/x/{image}", "audio": f"/data/y/{audio}", "gt_box": list(box), **more}


def pairs_folder(root, entries, file="IS3_annotation.json", shades=None):
    """A folder with all files that entries name; images are equal unless `shades` say another one."""
    for entry in entries:
        image, audio = entry["image"].split("/")[-1], entry["audio"].split("/")[-1]
        add_picture(root / "images" / image, (shades or {}).get(image, 128))
        write_sound(root / "audio_wav" / audio, tone(2, 8000), 8000)
    write_json(root / file, entries)
    return root


# ------------------------------------------------------------------------------------------------- IS3 and VPO-MS


def test_is3s_rows_are_its_annotations_and_know_their_picture_and_class(tmp_path):
    entries = [pair(f"{name}.jpg", (0, 56, 112, 224), category=name.split("_")[-1]) for name in NAMES[::-1]]
    data = IS3(pairs_folder(tmp_path, entries))
    assert data.ids == NAMES and data.several_sounds and not data.has_masks
    assert [row.picture for row in data.rows] == ["accordion_baby_10467"] * 2 + ["dog_train_2"] * 2
    assert [row.classes for row in data.rows] == [("accordion",), ("baby",), ("dog",), ("steam train",)]
    assert data.truth(0, 4).tolist() == [[0, 0, 0, 0]] + [[1, 1, 0, 0]] * 3
    assert data.rows[1].wav == tmp_path / "audio_wav" / f"{NAMES[1]}.wav" and data.sound(1, 8000).shape == (8000,)


def test_every_side_in_pixels_is_drawn_where_it_is(tmp_path):
    for side in (1, 61, 115, 122, 223):  # some of k / 224 * 224 are below k
        entries = [pair("a_1_b.jpg", (side, 0, 224, 224)), pair("a_1_c.jpg", (0.9, 0, side + 0.9, 224))]
        data = IS3(pairs_folder(tmp_path, entries))
        assert data.truth(0, 224).sum(1).tolist() == [224 - side] * 224
        assert data.truth(1, 224).sum(1).tolist() == [side] * 224  # cut to whole pixels


def test_boxes_may_be_fractions_but_no_other_unit(tmp_path):
    data = IS3(pairs_folder(tmp_path / "a", [pair("a_1_b.jpg", (0, 0, 0.5, 1)), pair("a_1_c.jpg", (0.5, 0, 1, 1))]))
    assert data.truth(0, 2).tolist() == [[1, 0]] * 2 and data.truth(1, 2).tolist() == [[0, 1]] * 2
    entries = [pair("a_1_b.jpg", (0, 0, 512, 512)), pair("a_1_c.jpg")]
    with pytest.raises(UserError, match=r"IS3_annotation.json has 1 boxes that reach beyond 224 pixels: they must"):
        IS3(pairs_folder(tmp_path / "b", entries))


def test_copies_of_a_picture_have_the_same_name_up_to_the_last_underscore(tmp_path):
    entries = [pair(f"{name}.png") for name in ("street_7_0", "street_7_1", "street_8_0", "z", "a_5_steam_train")]
    data = VPOMS(pairs_folder(tmp_path, entries, "vpo_ms_bbox.json"))
    assert {clip: row.picture for clip, row in zip(data.ids, data.rows, strict=True)} == {
        "street_7_0": "street_7", "street_7_1": "street_7", "street_8_0": "street_8", "z": "z",
        "a_5_steam_train": "a_5",
    }  # fmt: skip


def test_an_image_that_several_sounds_share_is_a_picture_whatever_its_name(tmp_path):
    names = ["a_1", "a_2"]
    entries = [pair(f"{name}.jpg", audio=f"{name}_{sound}.wav") for name in names for sound in ("x", "y")]
    assert [row.picture for row in IS3(pairs_folder(tmp_path, entries)).rows] == ["a_1", "a_1", "a_2", "a_2"]


def test_is3s_published_boxes_have_the_class_in_the_name_only(tmp_path):
    entries = [pair("fox_train_subway.jpg"), pair("fox_train_fox.jpg"), pair("000000489267_157452.jpg")]
    data = IS3(pairs_folder(tmp_path, entries, "metadata/synthetic3240_bbox.json"))
    assert [row.classes for row in data.rows] == [(), ("fox",), ("subway",)]
    assert [row.picture for row in data.rows] == ["000000489267", "fox_train", "fox_train"]


def test_one_image_for_several_sounds_and_one_sound_for_several_images_make_rows_of_their_own(tmp_path):
    shared = [pair("p.jpg", audio="a.wav"), pair("p.jpg", audio="b.wav"), pair("p.jpg", (0, 0, 9, 9), audio="b.wav")]
    data = VPOMS(pairs_folder(tmp_path / "1", shared, "metadata/vpo_ms_bbox.json"))
    assert data.ids == ["a", "b"] and [len(boxes) for boxes in data.boxes] == [1, 2]
    assert data.rows[0].picture == data.rows[1].picture
    crossed = [pair("p.jpg", audio="a.wav"), pair("p.jpg", audio="b.wav"), pair("q.jpg", audio="b.wav")]
    data = VPOMS(pairs_folder(tmp_path / "2", crossed, "vpo_ms_bbox.json", {"q.jpg": 7}))
    assert data.ids == ["p+a", "p+b", "q+b"]
    assert [row.wav.name for row in data.rows] == ["a.wav", "b.wav", "b.wav"]


def test_a_table_by_names_is_read_too_and_rows_can_be_chosen(tmp_path):
    pairs_folder(tmp_path, [pair(f"{name}.jpg") for name in NAMES])
    write_json(tmp_path / "IS3_annotation.json", {name: {"bbox": [[0, 0, 224, 112]], "class": "c"} for name in NAMES})
    seen = {}
    data = IS3(tmp_path, choose=lambda classes: seen.update(classes) or [NAMES[2], NAMES[0]])
    assert seen == dict.fromkeys(NAMES, ("c",)) and data.ids == [NAMES[2], NAMES[0]]
    assert data.truth(0, 2).tolist() == [[1, 1], [0, 0]]


def test_a_sound_without_a_valid_box_fails_and_a_missing_file_is_named(tmp_path):
    root = pairs_folder(tmp_path, [pair("a_1_b.jpg", (9, 9, 9, 30)), pair("a_1_c.jpg"), pair("a_1_d.jpg")])
    (root / "audio_wav" / "a_1_d.wav").unlink()
    with pytest.raises(ClipError, match=r"lacks .*a_1_d.wav of clip a_1_d: add it, or pass --data.on_error skip"):
        IS3(root)
    data = IS3(root, "skip")
    assert data.ids == ["a_1_b", "a_1_c"] and data.failures == ["a_1_b"] and list(data.skipped) == ["a_1_d"]


WRONG = {
    "not JSON": "[{", "a number": 5, "nothing": [], "a text": ["a"], "no box": [{"image": "a.jpg", "audio": "a.wav"}],
    "three sides": [pair("a.jpg", (0, 0, 1))], "words": [pair("a.jpg", ("0", 0, 1, 1))],
    "a box of none": [pair("a.jpg") | {"gt_box": None}], "no name": [{"gt_box": [0, 0, 9, 9]}],
    "the folder above": [pair("a.jpg") | {"image": ".."}], "no letters": [pair("a.jpg") | {"image": "x/.."}],
    "a list for a name": [pair("a.jpg") | {"audio": ["a.wav"]}],
    "a line end": [pair("a.jpg") | {"image": "a\nb.jpg"}], "a good entry, then a bad one": [pair("a.jpg"), None],
}  # fmt: skip


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_annotations_of_another_form_get_one_sentence(tmp_path, content):
    (tmp_path / "IS3_annotation.json").write_text(content if isinstance(content, str) else json.dumps(content))
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=r'it must hold \[\{"image"') as caught:
            IS3(tmp_path, on_error)
        assert str(caught.value).startswith(str(tmp_path / "IS3_annotation.json")) and "\n" not in str(caught.value)


def test_a_name_that_leads_out_of_the_folder_stays_in_it(tmp_path):
    root = pairs_folder(tmp_path / "in", [pair("a.jpg"), pair("b.jpg")])
    write_json(root / "IS3_annotation.json", [pair("../../etc/a.jpg", audio="..\\..\\a.wav"), pair("b.jpg")])
    assert IS3(root).rows[0].frame == root / "images" / "a.jpg"


def test_folders_without_annotations_are_named(tmp_path):
    for which, name in ((IS3, "IS3_annotation.json"), (VPOMS, "vpo_ms_bbox.json"), (AVSBenchS4, "s4_meta_data.csv")):
        with pytest.raises(UserError, match=f"{name} is missing"):
            which(tmp_path)
        with pytest.raises(UserError, match=f"there is no benchmark folder {tmp_path}/x: it must hold {name}"):
            which(tmp_path / "x")


# -------------------------------------------------------------------------------------------------------- AVSBench


def mask_of(columns, size=(10, 20)):
    """A mask whose left `columns` sound."""
    mask = np.zeros(size, np.uint8)
    mask[:, :columns] = 255
    return mask


def s4(root, videos, sound=None):
    """S4's folder: {video: columns of the mask}."""
    lines = ["name,category,split", "other,dog,train"]
    for video, columns in videos.items():
        lines.append(f"{video},dog,test")
        write_sound(
            root / "s4_data/audio_wav/test/dog" / f"{video}.wav", tone(5, 8000) if sound is None else sound, 8000
        )
        for k in range(1, 6):
            add_picture(root / f"s4_data/visual_frames/test/dog/{video}/{video}_{k}.png", 40 * k)
            mask = root / f"s4_data/gt_masks/test/dog/{video}/{video}_{k}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask_of(columns)).save(mask)
    (root / "s4_meta_data.csv").write_text("\n".join(lines) + "\n")
    return root


def test_s4_has_five_frames_of_each_test_video_with_their_masks_and_seconds(tmp_path):
    data = AVSBenchS4(s4(tmp_path, {"v": 10, "w_1000_6000": 0}, click(5, 8000, 3.2)))
    assert data.ids == [f"v_{k}" for k in range(1, 6)] + [f"w_1000_6000_{k}" for k in range(1, 6)]
    assert data.has_region == [True] * 5 + [False] * 5 and data.has_masks and not data.several_sounds
    assert data.truth(0, 4).tolist() == [[1, 1, 0, 0]] * 4 and not data.truth(5, 4).any()
    assert data.rows[3].classes == ("dog",) and data.rows[3].picture == "v" and data.boxes[0].shape == (0, 4)
    assert abs(int(data.frame(3, 8)[0, 0, 0]) - 160) < 3
    loud = np.abs(data.sound(3, 8000).astype(int))  # the fourth second, 3.0 .. 4.0
    assert np.argmax(loud > loud.max() / 2) / 8000 == pytest.approx(0.2, abs=0.01)
    long = np.abs(data.sound(4, 8000, 3.0).astype(int))  # 2.0 .. 5.0: moved inside of the wav
    assert np.argmax(long > long.max() / 2) / 8000 == pytest.approx(1.2, abs=0.01)


def test_a_mask_is_what_is_not_black_in_whatever_way_it_is_stored(tmp_path):
    root = s4(tmp_path, {"v": 10})
    masks, mask = root / "s4_data/gt_masks/test/dog/v", mask_of(10)
    palette = Image.fromarray(mask // 255, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    red = np.zeros((10, 20, 3), np.uint8)
    red[:, :10, 0] = 128
    for k, image in enumerate(
        (palette, Image.fromarray(red), Image.fromarray(mask // 255), Image.fromarray(mask > 0)), 1
    ):
        image.save(masks / f"v_{k}.png")
    data = AVSBenchS4(root)
    for k in range(4):
        assert data.truth(k, 4).tolist() == [[1, 1, 0, 0]] * 4


def test_ms3s_frames_have_names_of_their_own_and_videos_can_be_chosen(tmp_path):
    base = tmp_path / "Multi-sources"
    for video in ("a", "b", "c"):
        write_sound(base / f"ms3_data/audio_wav/test/{video}.wav", tone(5, 8000), 8000)
        for k in range(1, 6):
            add_picture(base / f"ms3_data/visual_frames/{video}/{video}.mp4_{k}.png")
            add_picture(base / f"ms3_data/gt_masks/test/{video}/{video}_{k}.png", 255)
    (base / "ms3_meta_data.csv").write_text("\ufeffvideo_id,split\nb,test\na,test\nd,val\n\nc,test\n")
    assert AVSBenchMS3(tmp_path).ids == AVSBenchMS3(base).ids == [f"{v}_{k}" for v in "abc" for k in range(1, 6)]
    assert AVSBenchMS3(base, choose=lambda classes: [v for v in classes if v != "a"]).ids[0] == "b_1"
    assert AVSBenchMS3(base).has_region == [True] * 15 and AVSBenchMS3(base).rows[0].classes == ()


def test_a_mask_that_cannot_be_read_stops_or_is_left_out(tmp_path):
    root = s4(tmp_path, {"v": 10})
    folder = root / "s4_data/gt_masks/test/dog/v"
    (folder / "v_2.png").write_bytes(b"<html>")
    (folder / "v_4.png").unlink()
    with pytest.raises(ClipError, match=r"v_2.png can't be read as an image"):
        AVSBenchS4(root)
    data = AVSBenchS4(root, "skip")
    assert data.ids == ["v_1", "v_3", "v_5"] and list(data.skipped) == ["v_2", "v_4"]


TABLES = {
    "empty": "", "no split": "name,category\nv,dog\n", "a header only": "name,split\n",
    "no test": "name,split\nv,train\n", "a path": "name,category,split\n../v,dog,test\n",
    "a folder": "name,category,split\nv,../dog,test\n", "too short": "name,category,split\nv,dog\n",
    "no name": "name,category,split\n,dog,test\n", "a nul": "name,split\nv\0,test\n",
}  # fmt: skip


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_table_of_another_form_gets_one_sentence(tmp_path, text):
    (tmp_path / "s4_meta_data.csv").write_text(text)
    with pytest.raises(UserError, match=r"it must hold a csv with a header|lists no video of split test") as caught:
        AVSBenchS4(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "s4_meta_data.csv")) and "\n" not in str(caught.value)
