"""eval.object_weight: maps mixed with what the encoder of the frames finds striking, checked by loops."""

import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch
from helpers import make_dataset, small_checkpoint, tone, write_json
from kill_and_resume import SMALL
from PIL import Image

import eval as evaluation
from collection.search_index import MapSource, SearchIndex
from configs.schema import Model
from dataset.transforms.frames import prepare_frames
from evaluation.file_embedding import Collection
from evaluation.measures.registry import undeclared
from evaluation.report.heatmaps import MIN_SIDE, enlarge_maps
from evaluation.tasks import localization
from evaluation.tasks.embeddings import embed_split, open_eval_moments, open_eval_split
from evaluation.trained_net import load_trained_net
from models import build_net
from models.object_maps import mix_maps, object_maps, scale_maps
from utils.errors import UserError

WEIGHT = 0.35
PEAKS = ("peak_accuracy", "two_object_accuracy", "distractor_accuracy")


def norms_by_hand(features):
    """The L2 norm over channels at each location of (B, C, h, w), by loops."""
    count, channels, height, width = features.shape
    out = np.zeros((count, height, width))
    for k, y, x in np.ndindex(out.shape):
        out[k, y, x] = sum(float(features[k, c, y, x]) ** 2 for c in range(channels)) ** 0.5
    return out


def mix_by_hand(logits, objects, weight):
    """(N, h, w) maps mixed by loops: each scaled by its own least and largest value."""
    out = np.zeros(logits.shape)
    for k, y, x in np.ndindex(out.shape):
        sound, objs = logits[k].ravel().tolist(), objects[k].ravel().tolist()
        for one, share, here in ((sound, 1 - weight, logits[k, y, x]), (objs, weight, objects[k, y, x])):
            out[k, y, x] += share * (float(here) - min(one)) / (max(one) - min(one))
    return out


def peaks_by_hand(maps, boxes):
    """The fraction of maps whose first largest location has its centre in a sounding object's box."""
    hits = []
    for one, objects in zip(maps, boxes, strict=True):
        (y, x), (height, width) = np.argwhere(one == one.max())[0], one.shape
        x, y = (x + 0.5) / width, (y + 0.5) / height
        hits.append(any(e["sounding"] and e["box"][0] <= x <= e["box"][2] and e["box"][1] <= y <= e["box"][3]
                        for e in objects))  # fmt: skip
    return np.mean(hits)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("objects") / "data", train=8, val=10, test=10)
    for split in ("val", "test"):  # a silent object in half of the frames
        path = root / split / "boxes.json"
        boxes = json.loads(path.read_text())
        for clip in list(boxes)[::2]:
            box = [0.0, 0.0, 0.4, 0.4]
            boxes[clip] += [{**entry, "box": box, "sounding": False} for entry in boxes[clip]]
        write_json(path, boxes)
    return root


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.precision": "fp32"}
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt", **settings)


def load(path, root, **changes):
    settings = {"data.root": str(root), "train.workers": 0, "eval.object_weight": WEIGHT}
    return load_trained_net(path, {**settings, **changes})


def parts_by_hand(net, split, flip):
    """(embeddings, logits, object maps, boxes) of a split; object maps from each frame read alone."""
    data = open_eval_split(net.config, split)
    embeddings = embed_split(net.encoder, net.config, data)
    objects = []
    for k in range(len(embeddings)):
        frame = prepare_frames(torch.from_numpy(embeddings.sample(k)[0][None]), net.config.data.frame_size)
        with torch.no_grad():
            one = norms_by_hand(net.model.vision(frame))
            if flip:
                one = (one + norms_by_hand(net.model.vision(frame.flip(-1)))[:, :, ::-1]) / 2
        objects.append(one[0])
    logits = net.model.location_logits(embeddings.v, embeddings.a).detach().numpy()
    boxes = [data.clips.boxes_at(index, time) for index, time in zip(embeddings.indices, embeddings.times, strict=True)]
    return embeddings, logits, np.stack(objects), boxes


def evaluate(path, root, out, *words, split="test"):
    places = ["--checkpoint", str(path), "--data.root", str(root), "--out", str(out), "--split", split]
    return evaluation.main([*places, "--train.workers", "0", "--pictures", "2", *words])


def test_an_object_map_is_the_norm_of_each_location_in_float32():
    features = torch.randn(2, 5, 3, 4)
    np.testing.assert_allclose(object_maps(features), norms_by_hand(features), rtol=1e-5)
    assert object_maps(features.bfloat16()).dtype == torch.float32
    assert object_maps(features.double()).dtype == torch.float64


def test_mixed_maps_are_weighted_means_of_maps_scaled_to_0_to_1():
    rng = np.random.default_rng(0)
    logits, objects = rng.normal(-20, 5, (4, 3, 5)), rng.uniform(7, 900, (4, 3, 5))
    tensors = torch.from_numpy(logits), torch.from_numpy(objects)
    for weight in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(mix_maps(*tensors, weight), mix_by_hand(logits, objects, weight), atol=1e-12)
    # A map that says nothing has no say.
    constant = torch.full((4, 3, 5), -3.0, dtype=torch.float64)
    assert scale_maps(constant).eq(0).all()
    np.testing.assert_allclose(mix_maps(tensors[0], constant, 0.3), 0.7 * scale_maps(tensors[0]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_frame_is_encoded_once_for_both(similarity, flip):
    torch.manual_seed(0)
    net = build_net(Model(name="AVOLNet", width=2, dim=8), similarity=similarity).eval()
    frames, calls = torch.randn(2, 3, 48, 64), []
    net.vision.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        v, objects = net.embed_with_objects(frames, flip)
        assert len(calls) == 1 + flip
        wanted = norms_by_hand(net.vision(frames))
        if flip:
            wanted = (wanted + norms_by_hand(net.vision(frames.flip(-1)))[:, :, ::-1]) / 2
        one, other = net.embed_frames(frames), net.embed_frames(frames.flip(-1)).flip(-1)
        averaged = (one + other) / 2 if flip else one
        averaged = averaged / averaged.norm(dim=1, keepdim=True) if similarity == "cosine" else averaged
        torch.testing.assert_close(v, averaged)
        torch.testing.assert_close(v, net.embed_with_flip(frames) if flip else net.embed_frames(frames))
        if not flip:  # features that were computed before
            torch.testing.assert_close(net.embed_with_objects(net.vision(frames))[1], objects)
    np.testing.assert_allclose(objects, wanted, rtol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_localization_is_measured_on_mixed_maps_beside_what_they_are_made_of(flip, path, root, tmp_path, capsys):
    words = ("--eval.flip_tta", str(flip))
    mixed = evaluate(path, root, tmp_path / "mixed", *words, "--eval.object_weight", str(WEIGHT))
    assert "Localization, plain map, " in (shown := capsys.readouterr().out) and "object map alone" in shown
    plain = evaluate(path, root, tmp_path / "plain", *words)
    assert undeclared(mixed) == [] and mixed["localization"]["object_weight"] == WEIGHT
    assert mixed["localization"]["plain"] == plain["localization"] and plain["localization"].keys().isdisjoint(
        ("plain", "object", "object_weight")
    )
    for section in ("avc", "retrieval"):  # the pair score never uses object maps
        assert mixed[section] == plain[section]

    _, logits, objects, boxes = parts_by_hand(load(path, root, **{"eval.flip_tta": flip}), "test", flip)
    found = mixed["localization"]
    silent = [k for k in range(10) if any(not entry["sounding"] for entry in boxes[k])]
    assert len(silent) == found["two_object_frames"] == 5
    for values, maps in (
        (found, mix_by_hand(logits, objects, WEIGHT)), (found["plain"], logits), (found["object"], objects)
    ):  # fmt: skip
        assert values["peak_accuracy"] == pytest.approx(peaks_by_hand(maps, boxes))
        two = peaks_by_hand(maps[silent], [boxes[k] for k in silent])
        assert values["two_object_accuracy"] == pytest.approx(two)
    assert (
        len({tuple(values[key] for key in (*PEAKS, "auc")) for values in (found, found["plain"], found["object"])}) > 1
    )
    page = (tmp_path / "mixed" / "report.html").read_text()
    assert "object map alone" in page and "finds striking without the sound" in page
    assert "striking" not in (tmp_path / "plain" / "report.html").read_text()


def test_pictures_videos_and_the_page_show_mixed_maps(path, root, tmp_path, monkeypatch):
    net, drawn = load(path, root), {}
    _, logits, objects, _ = parts_by_hand(net, "test", False)
    wanted = mix_by_hand(logits, objects, WEIGHT)
    for name in ("write_localization_images", "write_heatmap_video"):
        monkeypatch.setattr(localization, name, lambda *args, name=name: drawn.setdefault(name, args))
    evaluate(path, root, tmp_path, "--video", "1", "--eval.object_weight", str(WEIGHT))
    pictures, video = drawn["write_localization_images"], drawn["write_heatmap_video"]
    np.testing.assert_allclose(pictures[1], wanted[:2], atol=1e-4)
    assert pictures[-1] is video[-1] is True
    assert video[2].shape[1:] == wanted.shape[1:] and video[2].min() >= 0 and video[2].max() <= 1
    assert np.abs(video[2][0] - wanted[0]).mean() < 0.2  # the pictures stand still, and the sound hardly changes

    files = list((tmp_path / "report").glob("map_*.png"))
    assert files
    for file in files:
        shown = np.asarray(Image.open(file).convert("RGBA"))[..., 3] / 255
        large = enlarge_maps(wanted[[int(re.search(r"\d+", file.stem)[0])]], len(shown), mixed=True)[0]
        assert large.max() <= 1 and np.abs(shown - large).mean() < 0.03


def test_maps_of_a_frame_with_other_sounds_keep_the_frames_objects(path, root):
    net = load(path, root)
    embeddings, _, objects, _ = parts_by_hand(net, "test", False)
    found = localization.make_cross_maps(net, embeddings)([2, 5, 7])
    for i, frame in enumerate((2, 5, 7)):
        for j, sound in enumerate((2, 5, 7)):
            logits = net.model.location_logits(embeddings.v[[frame]], embeddings.a[[sound]]).detach().numpy()
            wanted = mix_by_hand(logits, objects[[frame]], WEIGHT)[0]
            np.testing.assert_allclose(found[i, j], wanted, atol=1e-4)


def test_only_val_says_which_weight_is_best(path, root, tmp_path):
    notes = evaluate(path, root, tmp_path, "--eval.object_weight", "1", split="val")["notes"]
    (note,) = (one for one in notes if "object_weight" in one)
    _, logits, objects, boxes = parts_by_hand(load(path, root), "val", False)
    weights = [k / 10 for k in range(11)]
    peaks = [peaks_by_hand(logits if not w else mix_by_hand(logits, objects, w), boxes) for w in weights]
    best = next(w for w, peak in zip(weights, peaks, strict=True) if peak == max(peaks))
    assert note.startswith(f"val is best with eval.object_weight {best:g}, ")
    assert all(f"{w:g}: {peak:.3f}" in note for w, peak in zip(weights, peaks, strict=True))
    for words, split in ((("--eval.object_weight", "0.5"), "test"), ((), "val")):
        metrics = evaluate(path, root, tmp_path, *words, split=split)
        assert not any("object_weight" in one for one in metrics.get("notes", ()))


def test_in_python_objects_come_with_the_embeddings(path, root):
    net = load(path, root)
    embeddings, logits, objects, _ = parts_by_hand(net, "test", False)
    frames = np.stack([embeddings.sample(k)[0] for k in range(3)])
    v, found = net.embed_with_objects(frames)
    np.testing.assert_allclose(found, objects[:3], rtol=1e-4)
    torch.testing.assert_close(v, net.embed_frames(frames))
    wanted = mix_by_hand(logits[:3], objects[:3], WEIGHT)
    np.testing.assert_allclose(net.localize(v, embeddings.a[:3], found), wanted, atol=1e-4)
    plain = net.localize(v, embeddings.a[:3])
    torch.testing.assert_close(plain.amax((1, 2)), net.correspondence(v, embeddings.a[:3]).diagonal())
    without = load(path, root, **{"eval.object_weight": 0})
    assert without.embed_with_objects(frames)[1] is None
    torch.testing.assert_close(without.localize(v, embeddings.a[:3], found), plain)


def test_the_search_page_draws_mixed_maps(path, root, monkeypatch):
    net = load(path, root)
    embeddings, logits, objects, _ = parts_by_hand(net, "test", False)
    empty = np.zeros((0, 8), np.float32)
    none = np.zeros(0, bool)
    index = SearchIndex(
        net, Collection(empty, empty, none, none, np.zeros(0), np.zeros(0, np.int32), {"files": []}), root
    )
    frame = np.ascontiguousarray(embeddings.sample(4)[0])
    drawn = []
    monkeypatch.setattr("collection.search_index.overlay_heatmap", lambda image, values: drawn.append(values) or image)
    stored = io.BytesIO()
    Image.fromarray(frame).resize((MIN_SIDE, MIN_SIDE)).save(stored, "JPEG")
    index.draw_map(MapSource(frame, stored.getvalue(), embeddings.a[4]))
    wanted = enlarge_maps(mix_by_hand(logits[[4]], objects[[4]], WEIGHT), MIN_SIDE, mixed=True)[0]
    assert drawn[0].shape == wanted.shape and np.abs(drawn[0] - wanted).max() < 0.1


def test_several_moments_leave_maps_and_pair_scores_alone(path, root):
    net = load(path, root, **{"data.moments": 2, "data.seconds": 0.5})
    split = open_eval_split(net.config, "test")
    found = embed_split(net.encoder, net.config, open_eval_moments(net.config, split.clips))
    assert found.objects.shape[:2] == found.v.shape[:2] == (10, 2) and found.objects.shape[2:] == found.v.shape[3:]


def test_a_benchmark_is_measured_on_mixed_maps_too(path, tmp_path):
    for folder in ("frames", "audio"):
        (tmp_path / "vggss" / folder).mkdir(parents=True)
    rng, boxes = np.random.default_rng(0), []
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(tmp_path / f"vggss/frames/clip{k}.jpg")
        soundfile.write(tmp_path / f"vggss/audio/clip{k}.wav", tone(3, 16000, 200 + 50 * k), 16000)
        boxes.append({"file": f"clip{k}", "class": "horse", "bbox": [[0.1, 0.1, 0.5, 0.9]]})
    write_json(tmp_path / "vggss/vggss.json", boxes)
    words = ("--benchmark", "vggss", "--eval.object_weight", "0.5")
    found = evaluate(path, tmp_path / "vggss", tmp_path / "out", *words)["localization"]
    assert found["plain"].keys() == found["object"].keys() == found.keys() - {"plain", "object", "object_weight"}


def test_the_validation_of_a_training_measures_mixed_maps(root, tmp_path):
    import train_VOLNet

    settings = SMALL | {
        "data.root": root, "data.cache_gb": 0, "model.init_from": "", "train.run_dir": tmp_path / "run",
        "train.epochs": 1, "train.workers": 0, "train.precision": "fp32", "train.ema": 0,
        "train.data_dependent_init": "false", "data.frame_size": 64, "data.resize_size": 64,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    train_VOLNet.main(["--config", "configs/demo_VOLNet.py", *words, "--eval.object_weight", "0.8"])
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "val"][-1]
    net = load(tmp_path / "run/last.pt", root, **{"eval.object_weight": 0.8})
    _, logits, objects, boxes = parts_by_hand(net, "val", net.config.eval.flip_tta)
    assert last["peak_accuracy"] == pytest.approx(peaks_by_hand(mix_by_hand(logits, objects, 0.8), boxes))


def test_a_wrong_weight_is_refused_in_one_sentence(path, root, tmp_path):
    for value in ("-0.1", "1.5", "nan"):
        with pytest.raises(UserError, match=r"^eval.object_weight .*must be (at least 0 and at most 1|a number)"):
            evaluate(path, root, tmp_path / "out", "--eval.object_weight", value)
    other = small_checkpoint(tmp_path / "ave.pt")
    with pytest.raises(UserError, match=r"eval.object_weight .*AVENet"):
        evaluate(other, root, tmp_path / "out", "--eval.object_weight", "0.5")
    assert not (tmp_path / "out").exists()
