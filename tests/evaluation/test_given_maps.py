"""eval.py --maps: localization by arrays that another program wrote, on a split and on a public benchmark."""

import json
import os

import numpy as np
import pytest
from given_results import clip_names, measure
from helpers import make_dataset, small_checkpoint, write_json
from test_benchmarks import add_files

from evaluation.given.maps import read_map
from evaluation.measures.registry import undeclared
from evaluation.tasks.embeddings import embed_split, open_eval_split
from evaluation.trained_net import load_trained_net
from utils.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=0, val=0, test=8)


def save_maps(folder, root, size=32, inside=1.0):
    """Maps that are `inside` in the clip's box and 0 elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip, objects in json.loads((root / "test" / "boxes.json").read_text()).items():
        box = np.array(objects[0]["box"]) * size
        (x0, y0), (x1, y1) = np.ceil(box[:2]).astype(int), np.floor(box[2:]).astype(int)
        values = np.zeros((size, size))
        values[y0:y1, x0:x1] = inside
        np.save(folder / f"{clip}.npy", values)
    return folder


def test_maps_of_the_boxes_are_perfect_and_their_opposites_are_not(root, tmp_path):
    good = measure(root, tmp_path / "good", maps=save_maps(tmp_path / "a", root))
    bad = measure(root, tmp_path / "bad", maps=save_maps(tmp_path / "b", root, inside=-1.0))
    assert undeclared(good) == [] and good["clips"] == 8 and good["model"] == "a"
    assert good["localization"]["peak_accuracy"] == 1 and bad["localization"]["peak_accuracy"] == 0
    assert good["localization"]["frames"] == 8 and "negative_sounds" not in good and "avc" not in good
    assert any("negative sounds are not measured" in note for note in good["notes"])
    assert len(list((tmp_path / "good" / "localization").glob("*.jpg"))) == 8
    page = (tmp_path / "good" / "report.html").read_text()
    assert "Each map is scaled to its own range." in page and "eval.object_weight)" not in page


def test_the_maps_of_a_net_give_its_own_figures(root, tmp_path):
    path = small_checkpoint(tmp_path / "best.pt", **{"model.name": "AVOLNet"})
    net = load_trained_net(path, {"data.root": str(root), "train.workers": "0"})
    embeddings = embed_split(net.encoder, net.config, open_eval_split(net.config, "test"))
    (tmp_path / "maps").mkdir()
    for clip, one in zip(embeddings.ids, net.location_maps(embeddings.v, embeddings.a).numpy(), strict=True):
        np.save(tmp_path / "maps" / f"{clip}.npy", one)
    import eval as script

    wanted = script.main(["--checkpoint", str(path), "--data.root", str(root), "--train.workers", "0"])["localization"]
    found = measure(root, tmp_path / "out", maps=tmp_path / "maps")["localization"]
    assert found == pytest.approx({key: wanted[key] for key in found}, abs=1e-9) and found.keys() == wanted.keys()


def test_maps_of_other_sizes_are_brought_to_one(root, tmp_path):
    folder = save_maps(tmp_path / "maps", root)
    clip = clip_names(root)[0]
    np.save(folder / f"{clip}.npy", np.load(folder / f"{clip}.npy").repeat(3, 0).repeat(2, 1))
    assert measure(root, tmp_path / "out", maps=folder)["localization"]["peak_accuracy"] == 1


def test_a_missing_and_an_unknown_map_are_named(root, tmp_path, capsys):
    folder, clips = save_maps(tmp_path / "maps", root), clip_names(root)
    (folder / f"{clips[2]}.npy").rename(folder / "elsewhere.npy")
    found = measure(root, tmp_path / "out", maps=folder)
    assert (found["clips"], found["given"]["missing_clips"], found["given"]["unknown_clips"]) == (
        7, [clips[2]], ["elsewhere"],
    )  # fmt: skip
    assert clips[2] in capsys.readouterr().err and clips[2] in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4), np.nan), "has a NaN or infinity"),
        (np.full((4, 4), np.inf), "has a NaN or infinity"),
        (np.ones((3, 4, 4)), r"must hold one map, \(h, w\) numbers, and holds \(3, 4, 4\)"),
        (np.ones((0, 4)), r"must hold one map"),
        (np.full((4, 4), "1"), r"must hold one map"),
        (np.ones((4, 4), complex), r"must hold one map"),
        (None, "is damaged, or no npy file"),
    ],
)
def test_a_wrong_form_is_one_sentence(array, message, root, tmp_path):
    folder = save_maps(tmp_path / "maps", root)
    path = folder / f"{clip_names(root)[1]}.npy"
    path.write_bytes(b"no array") if array is None else np.save(path, array)
    with pytest.raises(UserError, match=message) as raised:
        measure(root, tmp_path / "out", maps=folder)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("scale", [(1e300, 0), (1e-300, 0), (1e-3, 1e6), (-1e38, 0)])
def test_maps_of_any_range_keep_their_order(scale, tmp_path):
    values = np.random.default_rng(0).standard_normal((14, 14)) * scale[0] + scale[1]
    np.save(tmp_path / "a.npy", values)
    found = read_map(tmp_path / "a.npy")
    assert found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_array_equal(found.ravel().argsort(), values.ravel().argsort())


def test_what_is_no_file_or_claims_terabytes_is_one_sentence(tmp_path):
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 800), }"
    (tmp_path / "large.npy").write_bytes(header.ljust(127) + b"\n")
    os.mkfifo(tmp_path / "pipe.npy")
    for name, message in (("large", "is damaged, or no npy file"), ("pipe", "it is a device or a pipe, not a file")):
        with pytest.raises(UserError, match=message):
            read_map(tmp_path / f"{name}.npy")


def test_a_folder_without_maps_is_one_sentence(root, tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        measure(root, tmp_path / "out", maps=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no maps"):
        measure(root, tmp_path / "out", maps=tmp_path / "empty")
    np.save(tmp_path / "empty" / "x.npy", np.ones((2, 2)))
    with pytest.raises(UserError, match=r"results for 0 clips of .* named like 'x'"):
        measure(root, tmp_path / "out", maps=tmp_path / "empty")


def test_maps_of_a_public_benchmark_are_measured_with_its_boxes(tmp_path):
    entries = []
    for k in range(4):
        clip = f"video{k:06d}_{k:06d}"
        add_files(tmp_path / "vggss", k, f"frames/{clip}.jpg", f"audio/{clip}.wav")
        entries.append({"file": clip, "class": "a class", "bbox": [[0.5, 0.0, 1.0, 1.0]]})
        values = np.zeros((14, 14))
        values[:, 7:] = 1 if k else -1  # the right half, or the other one
        (tmp_path / "maps").mkdir(exist_ok=True)
        np.save(tmp_path / "maps" / f"{clip}.npy", values)
    write_json(tmp_path / "vggss" / "vggss.json", entries)
    found = measure(tmp_path / "vggss", tmp_path / "out", maps=tmp_path / "maps", benchmark="vggss", pictures=1)
    assert found["split"] == "vggss" and found["clips"] == 4
    assert found["localization"]["ciou@0.5"] == pytest.approx(0.75)
