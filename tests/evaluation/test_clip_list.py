"""eval.py --ids: the clips of a fixed list alone, in its order, and the list is named beside the measures."""

import hashlib
import json

import pytest
from helpers import make_dataset, small_checkpoint, write_json

import eval as script
from configs.schema import Mix
from dataset.mixes import fixed_mixtures
from dataset.reading.reader import open_clips
from evaluation.tasks.clip_list import choose_clips, read_clip_list
from utils.errors import UserError

VIDEOS = [f"video{k:06d}" for k in range(4)]  # ids as YouTube's, of eleven letters


class Split:
    """What choosing needs of a split, without files."""

    def __init__(self, *ids, skipped=()):
        self.ids, self.labels, self.folder = list(ids), [[clip] for clip in ids], "FOLDER"
        self.boxes, self.skipped, self.parallel_reads, self.seconds = {}, dict.fromkeys(skipped, "why"), 1, 1.0

    def open(self, index):
        return self.ids[index]


def choose(tmp_path, split, text, name="list.txt", part="test"):
    (tmp_path / name).write_text(text)
    return choose_clips(split, read_clip_list(tmp_path / name, part))


@pytest.mark.parametrize("names", [
    VIDEOS, [f"{video}_000030" for video in VIDEOS], [f"{video}_30_40" for video in VIDEOS],
    [f"{video}_30.000_40.000" for video in VIDEOS],
])  # fmt: skip
@pytest.mark.parametrize(
    "form", ["{}_000030", "{}_30.000_40.000", "{},30,music,test", '{}, 30.000, 40.000, "/m/04rlf"']
)
def test_names_of_all_spellings_are_found_in_the_order_of_the_list(tmp_path, names, form):
    order = [2, 0, 3]
    chosen, about = choose(tmp_path, Split(*names), "\n".join(form.format(VIDEOS[k]) for k in order))
    assert chosen.ids == [names[k] for k in order] and chosen.labels == [[names[k]] for k in order]
    assert [chosen.open(k) for k in range(3)] == chosen.ids
    lines = "".join(f"{VIDEOS[k]}_30.000_40.000\n" for k in order)
    assert about == {
        "file": "list.txt", "clips": 3, "missing": 0, "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }  # fmt: skip


def test_what_the_split_lacks_is_counted_and_another_order_is_another_list(tmp_path, capsys):
    split = Split("a", "c", skipped=["d"])
    chosen, about = choose(tmp_path, split, "c\nb\na\nd\ne\n")
    assert chosen.ids == ["c", "a"] and chosen.skipped == {"d": "why"} and about["missing"] == 2
    assert "lacks 2 of the 5 clips of" in capsys.readouterr().err
    assert choose(tmp_path, split, "a\nb\nc\nd\ne\n")[1]["sha256"] != about["sha256"]


@pytest.mark.parametrize(
    ("ids", "text", "said"),
    [
        (["a"], "a\nb\na\n", "has a twice"),
        ([VIDEOS[0]], f"{VIDEOS[0]}_000030\n{VIDEOS[0]}_30_40\n", "twice"),
        (["a"], "x\ny\n", "none of the clips of .*, such as x"),
        ([f"{VIDEOS[0]}_000030", f"{VIDEOS[0]}_000040"], f"{VIDEOS[0]}\n", "fits several clips"),
        ([VIDEOS[0]], f"{VIDEOS[0]},30,music,train\n", "no clip of part test"),
        (["a"], "", "no rows"),
    ],
)
def test_a_list_that_is_wrong_is_refused_in_one_sentence(tmp_path, ids, text, said):
    with pytest.raises(UserError, match=said) as error:
        choose(tmp_path, Split(*ids), text)
    assert "\n" not in str(error.value) and "list.txt" in str(error.value)


def test_of_a_list_with_parts_the_splits_own_is_taken(tmp_path):
    parts = ("train", "test", "train", "test")
    text = "".join(f"{video},30,music,{part}\n" for video, part in zip(VIDEOS, parts, strict=True))
    assert choose(tmp_path, Split(*VIDEOS), text)[0].ids == [VIDEOS[1], VIDEOS[3]]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A net, and a split of seven clips."""
    root = tmp_path_factory.mktemp("evaluation")
    make_dataset(root / "data", train=0, val=0, test=7)
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.workers": 0}
    checkpoint = small_checkpoint(root / "best.pt", **settings, **{"data.root": str(root / "data")})
    return root, ["--checkpoint", str(checkpoint), "--pictures", "0"]


def test_measures_are_those_of_a_dataset_of_these_clips_alone(evaluation, tmp_path, capsys):
    root, words = evaluation
    ids = open_clips(root / "data", "test").ids
    (tmp_path / "list.txt").write_text("\n".join([ids[5], ids[1], "gone", ids[3], ids[2]]))
    script.main([*words, "--ids", str(tmp_path / "list.txt"), "--out", str(tmp_path / "some")])
    found = json.loads((tmp_path / "some/metrics.json").read_text())
    shown = capsys.readouterr().out
    assert "only the clips of the list list.txt are measured: 5 clips, 1 of which the split lacks, SHA-256" in shown
    assert found["ids"]["sha256"] in (tmp_path / "some/report.html").read_text(encoding="utf-8")

    few = tmp_path / "few/test"
    for clip in (ids[k] for k in (5, 1, 3, 2)):
        for kind, suffix in (("video", "mp4"), ("audio", "wav")):
            (few / kind).mkdir(parents=True, exist_ok=True)
            (few / kind / f"{clip}.{suffix}").symlink_to(root / f"data/test/{kind}/{clip}.{suffix}")
    for name in ("vid2genre.json", "boxes.json"):
        table = json.loads((root / "data/test" / name).read_text())
        write_json(few / name, {clip: table[clip] for clip in (ids[k] for k in (5, 1, 3, 2))})
    script.main([*words, "--data.root", str(few.parent), "--out", str(tmp_path / "alone")])
    alone = json.loads((tmp_path / "alone/metrics.json").read_text())
    assert found["clips"] == alone["clips"] == 4 and "ids" not in alone
    for section in ("avc", "retrieval", "localization"):
        compare(found[section], alone[section])


def compare(one, other):
    """Compare nested measures; random maps are drawn in the order of the clips."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if "random" in key:
            continue
        if isinstance(value, dict):
            compare(value, other[key])
        else:
            assert value == (pytest.approx(other[key], rel=1e-4, abs=1e-6) if isinstance(value, float) else other[key])


def test_a_list_does_not_go_with_a_folder_that_is_probed(evaluation, tmp_path):
    with pytest.raises(UserError, match="--ids chooses clips, and --probe_folder probes a whole folder"):
        script.main([*evaluation[1], "--ids", "list.txt", "--probe_folder", str(tmp_path)])


def test_mixtures_are_of_the_lists_clips_alone(evaluation, tmp_path, capsys):
    root, _ = evaluation
    split = open_clips(root / "data", "test")
    chosen, _ = choose(tmp_path, split, "\n".join(split.ids[k] for k in (5, 1, 3)))
    for mixture in fixed_mixtures(chosen, Mix()):
        assert len(set(mixture)) == 2 and set(mixture) <= {0, 1, 2}
    (tmp_path / "pairs.csv").write_text(f"/a/{split.ids[3]}.wav,/b/{split.ids[5]}.wav\n{split.ids[3]},{split.ids[0]}\n")
    assert fixed_mixtures(chosen, Mix(pairs=str(tmp_path / "pairs.csv"))) == [[2, 0]]
    assert "1 of 2 mixtures" in capsys.readouterr().err
    with chosen.open(0) as clip, split.open(5) as same:
        assert clip.clip == same.clip == chosen.ids[0] and chosen.version(0) == split.version(5)
