"""Each kind of list, by the commands of the docs: 40 rows downloaded, checked, split, trained on, evaluated."""

import json

import pytest
from downloads import names, run
from helpers import numbered, tone, write_json, write_video
from media_server import MediaServer

from dataset.reading.clips import Clips

pytestmark = pytest.mark.slow

CLASSES = {"flute": 330.0, "cello": 880.0}  # and the pitch of its sound
VIDEOS = names(40)
PARTS = {video: "test" if k % 10 < 2 else "val" if k % 10 < 4 else "train" for k, video in enumerate(VIDEOS)}


def class_of(video):
    return list(CLASSES)[VIDEOS.index(video) % 2]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """{id: bytes of a film of four seconds}, each another."""
    path, films = tmp_path_factory.mktemp("films") / "film.mp4", {}
    for k, video in enumerate(VIDEOS):
        sound = tone(4, 16000, CLASSES[class_of(video)] + k)
        write_video(path, [numbered(40 * k + n) for n in range(40)], 10, sound=sound)
        films[video] = path.read_bytes()
    return films


def write_rows(folder, name, row, videos=VIDEOS, header=""):
    """Write a list with a row for each of the videos, in a format `row` with {video}, {label} and {part}."""
    rows = [row.format(video=video, label=class_of(video), part=PARTS[video]) for video in videos]
    (folder / name).write_text(header + "".join(f"{line}\n" for line in rows))
    return folder / name


def of_class(label):
    return [video for video in VIDEOS if class_of(video) == label]


def vggsound(folder):
    names = {"train": "train", "val": "train", "test": "test"}  # VGGSound has no val part
    rows = [f'{video},1,"playing {class_of(video)}",{names[PARTS[video]]}' for video in VIDEOS]
    (folder / "vggsound.csv").write_text("\n".join(rows) + "\n")
    return folder / "vggsound.csv", [], ["--by_list", folder / "vggsound.csv"]


def ave(folder):
    row, header = "{label}&{video}&good&0&2", "Category&VideoID&Quality&StartTime&EndTime\n"
    listed = write_rows(folder, "Annotations.txt", row, header=header)
    sets = [
        f"{part}={write_rows(folder, f'{part}Set.txt', row, [v for v in VIDEOS if PARTS[v] == part])}"
        for part in ("train", "val", "test")
    ]
    times = write_rows(folder, "segments.csv", '{video}, 1.000, 4.000, "/m/0l14j_"')
    return listed, ["--times", times], ["--by_list", *sets]


def music(folder):
    write_json(folder / "solo.json", {"videos": {label: of_class(label) for label in CLASSES}})
    return folder / "solo.json", ["--seconds", 2], ["--val", 0.2, "--test", 0.2]


def solos(folder):
    spans = {label: {video: [[25, 75]] for video in of_class(label)} for label in CLASSES}
    write_json(folder / "solos.json", spans)
    return folder / "solos.json", [], ["--val", 0.2, "--test", 0.2]


def cav_mae(folder):
    data = [{"video_id": video, "wav": f"/data/{video}.wav", "labels": class_of(video)} for video in VIDEOS]
    write_json(folder / "train.json", {"data": data})
    return folder / "train.json", ["--seconds", 2], ["--val", 0.2, "--test", 0.2]


def ids(folder):
    return write_rows(folder, "ids.txt", "{video}"), [], ["--val", 0.2, "--test", 0.2]


def plain(folder):
    listed = write_rows(folder, "plain.csv", "{video},0.5,3,{label},{part}", header="id,start,end,label,split\n")
    return listed, [], ["--by_list", listed]


CLIPS = {music: 80, cav_mae: 80}
LABELS = {
    vggsound: lambda video: [f"playing {class_of(video)}"], ids: lambda video: [],
}  # fmt: skip


@pytest.mark.parametrize("make_list", [vggsound, ave, music, solos, cav_mae, ids, plain])
def test_a_list_becomes_a_trained_net(make_list, films, tmp_path):
    clips, root, count = tmp_path / "clips", tmp_path / "root", CLIPS.get(make_list, 40)
    listed, options, split = make_list(tmp_path)
    with MediaServer(b"") as site:
        site.films = films
        fast = ["--url", site.url, "--sleep", 0, "--fps", 10, "--min_free", 0]
        run("data/download_video_audio.py", "--csv", listed, "--out", clips, *options, *fast)
        assert set(site.requests) == set(VIDEOS)
    assert f"{count} of {count} clips are ok" in run("data/check_data.py", clips)
    run("data/train_val_split_small.py", clips, root, *split)

    splits = {part: Clips(root, part) for part in ("train", "val", "test")}
    labels_of = LABELS.get(make_list, lambda video: [class_of(video)])
    videos = {part: {clip[:11] for clip in found.ids} for part, found in splits.items()}
    assert sum(map(len, splits.values())) == count and set.union(*videos.values()) == set(VIDEOS)
    assert sum(map(len, videos.values())) == len(VIDEOS)  # no video in two parts
    for found in splits.values():
        assert [list(labels) for labels in found.labels] == [labels_of(clip[:11]) for clip in found.ids]
    if "--by_list" in split:
        known = ("train", "val", "test") if make_list is not vggsound else ("test",)
        assert all(videos[part] == {v for v in VIDEOS if PARTS[v] == part} for part in known)

    settings = {"epochs": 1, "batch_size": 4, "workers": 0, "run_dir": tmp_path / "run"}
    words = [word for name, value in settings.items() for word in (f"--train.{name}", value)]
    run("train_AVENet.py", "--config", "configs/demo_AVENet.py", "--data.root", root, "--model.width", 4, *words)
    run("eval.py", "--checkpoint", tmp_path / "run/best.pt")
    measured = json.loads((tmp_path / "run/eval_test/metrics.json").read_text())
    assert measured["clips"] == len(splits["test"]) and measured["skipped"] == 0
    assert 0 <= measured["avc"]["accuracy"] <= 1 and ("ndcg" in measured["retrieval"]["im-aud"]) == (make_list != ids)
