"""Campaign: labels, boxes, ontologies and splits that are broken, odd or tiny, given to eval.py.

Promise: it refuses them in one sentence that names the file, or it measures what can be measured: numbers are finite,
shares lie in 0..1, and what was left out is said.
"""

import functools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from helpers import MIDS, make_dataset, small_checkpoint

from evaluation.measures.measure import DECIMALS
from evaluation.measures.registry import undeclared
from evaluation.report.rows import metric_rows
from tests.campaign.case import Case, Outcome, problem, refusal, run_command
from tests.campaign.material import material

CLIPS = [f"test_{k:04d}" for k in range(6)]
BOX = {"time": 0.6, "box": [0.2, 0.2, 0.6, 0.6], "label": MIDS[0], "sounding": True}
OTHER = BOX | {"box": [0.7, 0.7, 0.9, 0.9], "sounding": False}

# {name: (content of vid2genre.json, text that the command must print)}; None: of a refusal, that names the file.
LABELS: dict[str, tuple[Any, str | None]] = {
    "number": (7, None),
    "text": ('"labels"', None),
    "null": ("null", None),
    "list": (CLIPS, None),
    "nothing": ("", None),
    "half": ('{"test_0000": ["', None),
    "binary": (b"\xff\xfe\x00\x01", None),
    "utf16": (json.dumps({clip: [MIDS[0]] for clip in CLIPS}).encode("utf-16"), None),
    "nan": ('{"test_0000": NaN}', None),
    "deep": ("[" * 20000 + "]" * 20000, None),
    "no_clips": ({}, None),
    "numbers_as_labels": ({clip: [1, 2] for clip in CLIPS}, None),
    "label_not_in_a_list": ({clip: MIDS[0] for clip in CLIPS}, None),
    "nested_labels": ({clip: [[MIDS[0]]] for clip in CLIPS}, None),
    "null_labels": ({clip: None for clip in CLIPS}, None),
    "dict_labels": ({clip: {MIDS[0]: 1} for clip in CLIPS}, None),
    "control_characters": ({clip: ["\n\x1b[31m"] for clip in CLIPS}, None),
    "path_as_id": ({"../../etc": [MIDS[0]], **{clip: [MIDS[0]] for clip in CLIPS}}, None),
    "empty_id": ({"": [MIDS[0]], **{clip: [MIDS[0]] for clip in CLIPS}}, None),
    "same_id_twice": ("{" + ", ".join(f'"{clip}": ["{MIDS[0]}"]' for clip in [*CLIPS, CLIPS[0]]) + "}", None),
    "byte_order_mark": ("\ufeff" + json.dumps({clip: [MIDS[k % 2]] for k, clip in enumerate(CLIPS)}), "6 clips"),
    "no_labels": ({clip: [] for clip in CLIPS}, "have labels, so nDCG"),
    "one_labelled": ({clip: [MIDS[0]] * (clip == CLIPS[0]) for clip in CLIPS}, "have labels, so nDCG"),
    "some_unlabelled": ({clip: [MIDS[0]] * (k % 3 > 0) for k, clip in enumerate(CLIPS)}, "2 clips without labels"),
    "own_labels": ({clip: ["dog"] for clip in CLIPS}, "lacks 1 label of the clips (dog)"),
    "some_own_labels": ({clip: ["dog", MIDS[k % 2]] for k, clip in enumerate(CLIPS)}, "lacks 1 label"),
    "label_twice": ({clip: [MIDS[k % 2]] * 2 for k, clip in enumerate(CLIPS)}, "6 clips"),
    "html": ({clip: ["<script>"] for clip in CLIPS}, "lacks 1 label"),
    "empty_label": ({clip: [""] for clip in CLIPS}, "lacks 1 label"),
    "long_label": ({clip: ["x" * 20000] for clip in CLIPS}, "lacks 1 label"),
    "emoji": ({clip: ["🎸"] for clip in CLIPS}, "lacks 1 label"),
    "thousands_of_labels": ({clip: [f"c{k}" for k in range(5000)] for clip in CLIPS}, "lacks 5,000 labels"),
    "all_of_one_class": ({clip: [MIDS[0]] for clip in CLIPS}, "1 label"),
    "each_of_its_own": ({clip: [mid] for clip, mid in zip(CLIPS, MIDS, strict=False)}, "6 labels"),
}  # fmt: skip

BOXES: dict[str, tuple[Any, str | None]] = {
    "number": (7, None),
    "null": ("null", None),
    "list": ([BOX], None),
    "nothing": ("", None),
    "half": ('{"test_0000": [{', None),
    "binary": (b"\x89PNG\r\n", None),
    "not_a_list": ({CLIPS[0]: BOX}, None),
    "no_time": ({CLIPS[0]: [{key: BOX[key] for key in BOX if key != "time"}]}, None),
    "no_box": ({CLIPS[0]: [{key: BOX[key] for key in BOX if key != "box"}]}, None),
    "no_label": ({CLIPS[0]: [{key: BOX[key] for key in BOX if key != "label"}]}, None),
    "no_sounding": ({CLIPS[0]: [{key: BOX[key] for key in BOX if key != "sounding"}]}, None),
    "sounding_as_number": ({CLIPS[0]: [BOX | {"sounding": 1}]}, None),
    "three_sides": ({CLIPS[0]: [BOX | {"box": [0.1, 0.2, 0.3]}]}, None),
    "text_sides": ({CLIPS[0]: [BOX | {"box": ["a", "b", "c", "d"]}]}, None),
    "nan_side": ('{"test_0000": [{"time": 0.4, "box": [NaN, 0, 1, 1], "label": "a", "sounding": true}]}', None),
    "infinite_side": ('{"test_0000": [{"time": 0.4, "box": [0, 0, 1e999, 1], "label": "a", "sounding": true}]}', None),
    "pixels": ({CLIPS[0]: [BOX | {"box": [10, 12, 40, 50]}]}, None),
    "negative_sides": ({CLIPS[0]: [BOX | {"box": [-0.5, -0.2, 0.5, 0.5]}]}, None),
    "corners_exchanged": ({CLIPS[0]: [BOX | {"box": [0.6, 0.6, 0.2, 0.2]}]}, None),
    "no_area": ({CLIPS[0]: [BOX | {"box": [0.5, 0.5, 0.5, 0.5]}]}, "1 frame"),
    "width_and_height": ({CLIPS[0]: [BOX | {"box": [0.7, 0.5, 0.2, 0.3]}]}, None),
    "at_the_edge": ({CLIPS[0]: [BOX | {"box": [-0.001, 0, 1.004, 0.5]}]}, "1 frame"),
    "time_at_the_start": ({clip: [BOX | {"time": 0.1}] for clip in CLIPS}, "6 can't be measured"),
    "some_times_at_the_start": ({c: [BOX | {"time": 0.3 * k}] for k, c in enumerate(CLIPS[:3])}, "2 can't be measured"),
    "negative_time": ({CLIPS[0]: [BOX | {"time": -3}]}, None),
    "text_time": ({CLIPS[0]: [BOX | {"time": "0.4"}]}, None),
    "huge_time": ({CLIPS[0]: [BOX | {"time": 1e308}]}, None),
    "same_clip_twice": ("{" + ", ".join([f'"{CLIPS[0]}": [{json.dumps(BOX)}]'] * 2) + "}", None),
    "empty": ({}, "no sounding object is annotated"),
    "empty_lists": ({clip: [] for clip in CLIPS}, "no sounding object is annotated"),
    "silent_only": ({clip: [BOX | {"sounding": False}] for clip in CLIPS}, "no sounding object is annotated"),
    "unknown_clips": ({"gone": [BOX]}, "gone"),
    "one_clip": ({CLIPS[0]: [BOX]}, "1 frame"),
    "two_objects": ({clip: [BOX, OTHER] for clip in CLIPS}, "6 frames"),
    "whole_frame": ({clip: [BOX | {"box": [0, 0, 1, 1]}] for clip in CLIPS}, "6 frames"),
    "tiny_box": ({clip: [BOX | {"box": [0.5, 0.5, 0.5001, 0.5001]}] for clip in CLIPS}, "6 frames"),
    "thousand_boxes": ({clip: [BOX] * 1000 for clip in CLIPS}, "6 frames"),
    "html_label": ({clip: [BOX | {"label": "<script>"}] for clip in CLIPS}, "6 frames"),
    "more_keys": ({clip: [BOX | {"score": 0.5}] for clip in CLIPS}, "6 frames"),
}  # fmt: skip

CLASS = {"id": MIDS[0], "name": "a", "child_ids": []}
ONTOLOGIES: dict[str, tuple[Any, str | None]] = {
    "number": (7, None),
    "null": ("null", None),
    "table": ({MIDS[0]: CLASS}, None),
    "nothing": ("", None),
    "half": ('[{"id": "', None),
    "binary": (b"\x00\x01\x02", None),
    "no_ids": ([{"name": "a", "child_ids": []}], None),
    "number_ids": ([CLASS | {"id": 7}], None),
    "no_children": ([{"id": MIDS[0], "name": "a"}], None),
    "children_as_text": ([CLASS | {"child_ids": MIDS[1]}], None),
    "number_children": ([CLASS | {"child_ids": [7]}], None),
    "control_characters": ([CLASS | {"name": "\x1b[31m\n"}], None),
    "deep": ("[" * 20000 + "]" * 20000, None),
    "same_class_twice": ([CLASS, CLASS | {"child_ids": [MIDS[1]]}], None),
    "empty": ([], "lacks 3 labels"),
    "other_classes": ([CLASS | {"id": "other"}], "lacks 3 labels"),
    "some_classes": ([CLASS], "lacks 2 labels"),
    "own_child": ([CLASS | {"child_ids": [MIDS[0]]}], "lacks 2 labels"),
    "circle": ([CLASS | {"id": MIDS[k], "child_ids": [MIDS[(k + 1) % 3]]} for k in range(3)], "3 labels"),
    "unknown_children": ([CLASS | {"id": mid, "child_ids": ["x", "y"]} for mid in MIDS[:3]], "3 labels"),
    "chain": ([CLASS | {"id": f"{k}", "child_ids": [f"{k + 1}"]} for k in range(3000)], "lacks 3 labels"),
    "byte_order_mark": ("\ufeff" + json.dumps([CLASS | {"id": mid} for mid in MIDS[:3]]), "3 labels"),
    "html_names": ([CLASS | {"id": mid, "name": "<script>"} for mid in MIDS[:3]], "3 labels"),
}  # fmt: skip

# {name: (tasks, further words, text that the command must print)}; None: of a refusal.
WORDS: dict[str, tuple[list[str], list[str], str | None]] = {
    "avc": (["avc"], [], "Correspondence"),
    "retrieval": (["retrieval"], [], "by pair score"),
    "localization": (["localization"], [], "Localization"),
    "probe": (["probe"], [], "Linear probe"),
    "all_of_them": (["avc", "retrieval", "localization", "probe"], [], "Linear probe"),
    "separation": (["separation"], [], None),
    "separation_too": (["avc", "separation"], [], "Correspondence"),
    "twice": (["avc", "avc"], [], "Correspondence"),
    "unknown": (["dance"], [], None),
    "no_words": ([], [], None),
    "k_1": (["retrieval"], ["--eval.k", "1"], "nDCG@1"),
    "k_1000": (["retrieval"], ["--eval.k", "1000"], "nDCG@1000"),
    "k_0": (["retrieval"], ["--eval.k", "0"], None),
    "two_queries": (["retrieval"], ["--eval.queries", "2"], "2 query clips"),
    "many_queries": (["retrieval"], ["--eval.queries", "100"], "Retrieval"),
    "first_results": (["retrieval"], ["--eval.full_ranking", "false"], "recall@10"),
    "linear": (["retrieval"], ["--eval.gain", "linear"], "gain linear"),
    "other_gain": (["retrieval"], ["--eval.gain", "other"], None),
    "batches_of_1": (["avc"], ["--eval.batch_size", "1"], "Correspondence"),
    "groups_of_2": (["avc"], ["--eval.group", "2"], "Correspondence"),
    "no_pictures": (["localization"], ["--pictures", "0"], "Localization"),
    "negative_pictures": (["localization"], ["--pictures", "-3"], None),
    "films": (["localization"], ["--video", "2"], "Localization"),
    "cca_without_train": (["retrieval"], ["--baselines", "cca", "--data.root", "ROOT/only_test"], None),
    "no_such_split": (["avc"], ["--split", "night"], None),
    "split_outside": (["avc"], ["--split", "../../test"], None),
    "train_split": (["avc"], ["--split", "train"], "on train"),
    "benchmark_of_nothing": (["localization"], ["--benchmark", "vggss"], None),
}  # fmt: skip


@functools.cache
def base() -> Path:
    """Make the dataset and the checkpoints once."""
    root = material() / "evaluation"
    if not root.exists():
        make_dataset(root / "clips", train=6, val=2, test=6)
        small = {"data.root": str(root / "clips"), "train.workers": 0, "model.width": 2, "model.dim": 4}
        small_checkpoint(root / "vol/best.pt", **small, **{"model.name": "AVOLNet"})
        small_checkpoint(root / "ave/best.pt", **small)
    return root


def cases() -> Iterator[Case]:
    """Give eval.py each broken or odd input."""
    for name, (content, said) in LABELS.items():
        yield Case(f"labels_{name}", partial(_with_file, "vid2genre.json", content, said))
    for name, (content, said) in BOXES.items():
        yield Case(f"boxes_{name}", partial(_with_file, "boxes.json", content, said))
    for name, (content, said) in ONTOLOGIES.items():
        yield Case(f"ontology_{name}", partial(_with_ontology, content, said))
    for name, (tasks, words, said) in WORDS.items():
        yield Case(f"words_{name}", partial(_with_words, tasks, words, said))
    for known in (0, 6):
        yield Case(f"unknown_clip_beside_{known}", partial(_unknown_clip, CLIPS[:known]))
    for count in range(6):
        yield Case(f"split_of_{count}", partial(_small_split, count))
    for net in ("vol", "ave"):
        yield Case(f"identical_clips_{net}", partial(_identical_clips, net))


def _dataset(folder: Path) -> Path:
    """Make a dataset whose test split can be changed; its media are links."""
    source, root = base() / "clips", folder / "clips"
    (root / "test").mkdir(parents=True)
    for split in ("train", "val"):
        (root / split).symlink_to(source / split)
    for part in ("video", "audio"):
        (root / "test" / part).symlink_to(source / "test" / part)
    for name in ("vid2genre.json", "boxes.json"):
        shutil.copy(source / "test" / name, root / "test" / name)
    return root


def _write(path: Path, content: Any) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def _evaluate(folder: Path, words: list[Any], net: str = "vol") -> Outcome:
    pictures = [] if "--pictures" in words else ["--pictures", "2"]
    return run_command(
        ["eval.py", "--checkpoint", base() / net / "best.pt", "--out", folder / "out", *pictures, *words]
    )


def _judge(outcome: Outcome, folder: Path, said: str | None, file: str = "") -> str:
    """Say what is wrong with an evaluation: `said` must be printed; None: it must refuse, naming `file`."""
    if said is None:
        return refusal(outcome, file)
    if wrong := problem(outcome):
        return wrong
    if outcome.code != 0:
        return f"is refused: {outcome.err.strip().splitlines()[-1]!r}"
    if said not in outcome.text:
        return f"does not say {said!r}"
    return _wrong_results(folder / "out")


def _wrong_results(out: Path) -> str:
    """Say what is wrong with the written measures: "" if nothing."""
    if not (out / "report.html").is_file():
        return "writes no report.html"
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"), parse_constant=str)
    if found := undeclared(metrics):
        return f"writes undeclared values: {found}"
    for key, value in _numbers(metrics):
        if not math.isfinite(value):
            return f"writes {key} {value}"
    for row in metric_rows(metrics):
        low, high = (0, 1) if row.unit == "fraction" and "nsdr" not in row.key else (-math.inf, math.inf)
        if not low <= row.value <= high or row.unit not in DECIMALS:
            return f"writes {row.key} {row.value}"
    return ""


def _numbers(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{key}.")
        elif value in ("NaN", "Infinity", "-Infinity"):
            yield path + key, float(value)
        elif isinstance(value, (int, float)):
            yield path + key, value


def _with_file(name: str, content: Any, said: str | None, folder: Path) -> str:
    root = _dataset(folder)
    _write(root / "test" / name, content)
    outcome = _evaluate(folder, ["--data.root", root])
    return _judge(outcome, folder, said, name if content else "test")


def _unknown_clip(known: list[str], folder: Path) -> str:
    root = _dataset(folder)
    _write(root / "test/vid2genre.json", {clip: [] for clip in ("gone", *known)})
    if wrong := _judge(_evaluate(folder, ["--data.root", root]), folder, None, "clip gone"):
        return wrong
    outcome = _evaluate(folder, ["--data.root", root, "--data.on_error", "skip"])
    return _judge(outcome, folder, "1 skipped" if known else None, "test")


def _with_ontology(content: Any, said: str | None, folder: Path) -> str:
    _write(folder / "classes.json", content)
    words = ["--tasks", "avc", "retrieval", "--eval.ontology", folder / "classes.json"]
    return _judge(_evaluate(folder, words), folder, said, "classes.json")


def _with_words(tasks: list[str], words: list[str], said: str | None, folder: Path) -> str:
    if any("ROOT" in word for word in words):
        (folder / "only_test").mkdir()
        (folder / "only_test/test").symlink_to(base() / "clips/test")
    words = [word.replace("ROOT", str(folder)) for word in words]
    return _judge(_evaluate(folder, ["--tasks", *tasks, *words]), folder, said)


def _small_split(count: int, folder: Path) -> str:
    root = _dataset(folder)
    labels = json.loads((root / "test/vid2genre.json").read_text())
    _write(root / "test/vid2genre.json", dict(list(labels.items())[:count]))
    outcome = _evaluate(folder, ["--data.root", root])
    return _judge(outcome, folder, None if count < 2 else f"{count} clips are few for these figures", "test")


def _identical_clips(net: str, folder: Path) -> str:
    """All clips are the same one, of three classes: all distances are equal."""
    root = _dataset(folder)
    for part, suffix in (("video", "mp4"), ("audio", "wav")):
        (root / "test" / part).unlink()
        (root / "test" / part).mkdir()
        for clip in CLIPS:
            shutil.copy(
                base() / "clips/test" / part / f"{CLIPS[0]}.{suffix}", root / "test" / part / f"{clip}.{suffix}"
            )
    return _judge(_evaluate(folder, ["--data.root", root], net), folder, "6 clips")
