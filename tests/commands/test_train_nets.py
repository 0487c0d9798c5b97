"""AVOL-Net and L3-Net from end to end, as a user runs them: train, stop, resume, evaluate, on a few tiny clips."""

import csv
import json
import re
import signal
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile
import torch
from helpers import make_dataset, tone
from kill_and_resume import REPOSITORY, SMALL, command, compare, train_command
from PIL import Image
from training import PLAIN, lines, one_sentence, run, stop_at

import train_VOLNet
from dataset.loading.loader import collate
from dataset.transforms.frames import PairTransform
from evaluation.measures.registry import undeclared
from evaluation.tasks.correspondence import evaluate_avc
from evaluation.tasks.embeddings import embed_split, open_eval_split
from evaluation.trained_net import load_trained_net
from models.avolnet import AVOLNet
from utils import checkpoint
from utils.errors import UserError

# Places of 16 px in frames of 64; about the shortest run that learns.
SETTINGS = SMALL | PLAIN | {
    "data.frame_size": 64, "data.resize_size": 64, "train.epochs": 24, "train.lr": 3e-3, "train.workers": 0,
    "train.ema": 0.9, "train.save_every": 50, "train.log_every": 2, "train.validate_every": 6,
}  # fmt: skip
VOL = {"script": "train_VOLNet.py", "config": "configs/demo_VOLNet.py"}
LOCALIZATION = {
    "peak_accuracy", "centre_accuracy", "two_object_accuracy", "two_object_centre", "distractor_accuracy",
    "ciou@0.5", "auc", "frames", "two_object_frames",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=32, val=8, test=12)


@pytest.fixture(scope="module")
def vol(data, tmp_path_factory):
    """An AVOL-Net trained from scratch: its run directory and the finished process."""
    run_dir = tmp_path_factory.mktemp("runs") / "vol"
    words = train_command(data, run_dir, SETTINGS, **VOL)
    done = run(words)
    assert done.returncode == 0, done.stderr
    return run_dir, done


def auc_on_training_clips(path):
    """In eval mode, of a checkpoint: on eight other clips a short run may end at chance by one processor's rounding."""
    net = load_trained_net(path)
    embeddings = embed_split(net.model, net.config, open_eval_split(net.config, "train"))
    return evaluate_avc(net, embeddings)["avc"]["auc"]


def evaluate(script, checkpoint, out, *words, **settings):
    done = script(command("eval.py", {"checkpoint": checkpoint, "out": out, **settings}, *words))
    assert done.returncode == 0, done.stderr
    return json.loads((out / "metrics.json").read_text()), done


def test_avol_net_learns_from_scratch_and_its_log_tells_where_it_looks(vol):
    assert auc_on_training_clips(vol[0] / "best.pt") > 0.7
    assert all(0 <= line["peak_accuracy"] <= 1 for line in lines(vol[0], "val"))
    train = lines(vol[0], "train")
    assert train[-1]["loss"] < 0.6 and train[-1]["logit_scale"] > 0
    assert f"eval.py --checkpoint {vol[0] / 'best.pt'}" in vol[1].stdout


def test_a_stopped_run_goes_on_bit_for_bit(vol, data, tmp_path, script):
    words = train_command(data, tmp_path, SETTINGS, **VOL)
    assert stop_at(script, 20, signal.SIGTERM, words, tmp_path).returncode == 130
    done = script([*words, "--resume"])
    assert done.returncode == 0 and "resuming" in done.stderr, done.stderr
    assert compare(vol[0], tmp_path) == []


def test_evaluation_says_where_the_sound_comes_from(vol, data, tmp_path, script):
    plain = {"train.precision": "fp32"}  # the same map in a batch of any size
    metrics, done = evaluate(script, vol[0] / "best.pt", tmp_path, "--video", 1, "--pictures", 3, **plain)
    found = metrics["localization"]
    assert found.keys() >= LOCALIZATION and found["frames"] == 12 and found["two_object_frames"] == 0
    assert undeclared(metrics) == []
    counts = {name for name in found if re.search("frames|objects|sounds|size", name) and isinstance(found[name], int)}
    assert all(0 <= value <= 1 for name, value in found.items() if name not in counts)
    with open(tmp_path / "localization.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and np.mean([float(row["ciou"]) for row in rows]) == pytest.approx(found["ciou"])
    silent = metrics["negative_sounds"]
    assert silent.keys() == {"silence", "noise", "offscreen", "threshold", "frames"}
    assert silent["offscreen"]["pairs"] == 10 * silent["silence"]["pairs"] == 120
    for kind in ("silence", "noise", "offscreen"):
        assert np.mean([float(row[f"lit_{kind}"]) for row in rows]) == pytest.approx(silent[kind]["pia"])
    assert np.mean([float(row["lit"]) for row in rows]) == pytest.approx(silent["noise"]["own_pia"])
    hits = peaks_on_boxes(vol[0] / "best.pt", data)
    assert found["peak_accuracy"] == pytest.approx(np.mean(hits))
    row = next(line for line in done.stdout.splitlines() if "peak on a sounding object" in line)
    shown = re.findall(r"\d\.\d+", row)
    assert [shown[0], shown[2]] == [f"{found['peak_accuracy']:.3f}", f"{found['centre_accuracy']:.3f}"]
    assert sorted(path.name for path in (tmp_path / "localization").iterdir()) == [f"test_000{k}.jpg" for k in range(3)]
    with Image.open(tmp_path / "localization" / "test_0000.jpg") as picture:
        assert min(picture.size) >= 64 and len(np.unique(picture.convert("L"))) > 20


def peaks_on_boxes(path, data):
    """Whether the center of each test clip's largest location lies in a box, computed location by location."""
    net, hits = load_trained_net(path, {"data.root": str(data)}), []
    boxes = json.loads((data / "test" / "boxes.json").read_text())
    clips, pairs = open_eval_split(net.config, "test")
    for index, clip in enumerate(clips.ids):
        sample = pairs[0, index]
        frames, spectrograms = PairTransform(net.config, train=False)(collate([sample]))
        with torch.no_grad():
            v, a = net.model.embed_with_flip(frames), net.model.embed_sounds(spectrograms)
            (logits,) = net.model.location_logits(v, a)
        rows, columns = logits.shape
        row, column = max(np.ndindex(rows, columns), key=lambda place: logits[place].item())
        shown = [box["box"] for box in boxes[clip] if abs(box["time"] - sample["time"]) <= 0.02]
        assert len(shown) == 1  # the demo-like dataset draws one square
        x0, y0, x1, y1 = shown[0]
        hits.append(x0 <= (column + 0.5) / columns <= x1 and y0 <= (row + 0.5) / rows <= y1)
    return hits


def test_the_video_shows_every_frame_and_sounds(vol, data, tmp_path, script):
    evaluate(script, vol[0] / "best.pt", tmp_path, "--tasks", "localization", "--video", 1, "--pictures", 0)
    (path,) = (tmp_path / "video").iterdir()
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert len(frames) == 13  # 0.5 to 1.0 s of 1.5 s at 25 a second: a second of sound lies around each
        assert frames[0].shape[1] == 2 * frames[0].shape[0]  # the frame, and the map over it
    with av.open(str(path)) as film:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
        assert len(sound) / 48000 == pytest.approx(13 / 25, abs=0.05) and np.abs(sound).max() > 0.05


def test_starting_from_ave_nets_weights(data, tmp_path, script):
    ave = tmp_path / "ave"
    assert script(train_command(data, ave, SETTINGS)).returncode == 0
    start = SETTINGS | {"model.init_from": ave / "best.pt", "train.epochs": 1, "train.lr": 1e-12}
    done = script(train_command(data, tmp_path / "vol", start, **VOL))
    assert done.returncode == 0 and "weights taken from" in done.stderr, done.stderr
    weights = checkpoint.load(tmp_path / "vol" / "last.pt")["model"]
    source = checkpoint.evaluated_weights(checkpoint.load(ave / "best.pt"))
    assert (weights["conv5.weight"][:, :, 0, 0] - source["vision_fc1.weight"]).abs().max() < 1e-5
    trained, started = (auc_on_training_clips(run_dir / "best.pt") for run_dir in (ave, tmp_path / "vol"))
    assert started > 0.5 + (trained - 0.5) / 2  # what AVE-Net knows is still there


def test_ave_nets_own_answer_teaches_from_scratch_only(vol, data, tmp_path, monkeypatch):
    """From its weights there is nothing left that it could teach: docs/localization.md. An answer that is not a number
    stops a training that listens to it.
    """
    real = AVOLNet.forward_with_aux

    def without_the_third(self, *args):
        *others, third = real(self, *args)
        return *others, third * float("nan")

    monkeypatch.setattr(AVOLNet, "forward_with_aux", without_the_third)
    few = SETTINGS | {"train.epochs": 1, "train.aux_loss_weight": 0.5}
    with pytest.raises(UserError, match="not finite"):
        train_VOLNet.main(train_command(data, tmp_path / "scratch", few, **VOL)[2:])
    train_VOLNet.main(train_command(data, tmp_path / "from", few | {"model.init_from": vol[0] / "best.pt"}, **VOL)[2:])
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path / "from", "train"))


def test_l3_net_trains_and_a_cca_aligns_what_it_learned(data, tmp_path, script):
    run_dir = tmp_path / "l3"
    done = script(train_command(data, run_dir, SETTINGS, config="configs/demo_L3Net.py"))
    assert done.returncode == 0, done.stderr
    assert auc_on_training_clips(run_dir / "best.pt") > 0.7
    words = ("--tasks", "avc", "retrieval", "--baselines", "cca")
    metrics, done = evaluate(script, run_dir / "best.pt", tmp_path / "out", *words)
    row = metrics["retrieval"]["baselines"]["cca"]
    assert undeclared(metrics) == []
    assert metrics["model"] == "L3Net" and row["components"] <= 31  # no more than there are clips
    assert row["im-aud"]["random_ndcg"] == metrics["retrieval"]["im-aud"]["random_ndcg"]
    shown = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["cca"])
    assert shown.split()[1:] == [f"{row[d]['ndcg']:.3f}" for d in ("im-im", "im-aud", "aud-im", "aud-aud")]


def test_the_paper_s_shortcut_can_be_trained(data, tmp_path, script):
    settings = SETTINGS | {"train.negatives": "off_grid", "data.misalignment": 0, "train.epochs": 1}
    for words in ({}, VOL):
        done = script(train_command(data, tmp_path / str(len(words)), settings, **words))
        assert done.returncode == 0, done.stderr


def test_a_public_benchmark_is_measured_from_a_folder_of_frames_and_wavs(vol, tmp_path, script):
    root = tmp_path / "vggss"
    boxes = []
    rng = np.random.default_rng(0)
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True)
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(root / "frames" / f"clip{k}.jpg")
        soundfile.write(root / "audio" / f"clip{k}.wav", tone(3, 16000, 200 + 50 * k), 16000)
        boxes.append({"file": f"clip{k}", "class": "horse", "bbox": [[0.1, 0.1, 0.9, 0.9]]})
    (root / "vggss.json").write_text(json.dumps(boxes))
    words = ("--benchmark", "vggss", "--data.root", root)
    metrics, done = evaluate(script, vol[0] / "best.pt", tmp_path / "out", *words)
    found = metrics["localization"]
    assert found.keys() > {"ciou@0.5", "auc", "ciou", "adaptive_ciou@0.5", "ciou@0.5_ceiling", "dropped_boxes"}
    assert "peak_accuracy" not in found and found["size"] == 224
    assert (metrics["clips"], metrics["localization"]["frames"], metrics["split"]) == (4, 4, "vggss")
    assert undeclared(metrics) == []
    assert metrics["localization"]["ciou@0.5_centre"] == 1 and "avc" not in metrics
    assert "cIoU of at least 0.5" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--benchmark", "vggss"), ("vggss.json", "missing")),
        (("--baselines", "vgg16", "--tasks", "retrieval", "--vgg16", "none.pth"), ("none.pth",)),
    ],
)
def test_a_mistake_in_evaluation_gets_one_sentence(words, said, vol, tmp_path, script):
    done = script(command("eval.py", {"checkpoint": vol[0] / "best.pt", "out": tmp_path}, *words))
    assert one_sentence(done, *said)


@pytest.mark.parametrize(
    ("name", "net", "right", "own"),
    [
        ("train_VOLNet.py", "AVENet", "train_AVENet.py", "AVOLNet"),
        ("train_AVENet.py", "AVOLNet", "train_VOLNet.py", "AVENet"),
        ("train_AVENet.py", "PixelPlayer", "train_PixelPlayer.py", "L3Net"),
        ("train_PixelPlayer.py", "L3Net", "train_AVENet.py", "PixelPlayer"),
    ],
)
def test_a_script_refuses_the_nets_of_another(name, net, right, own, data, tmp_path, script):
    configs = {"AVOLNet": "configs/demo_VOLNet.py"}
    done = script(train_command(data, tmp_path, {}, script=name, config=configs.get(net, f"configs/demo_{net}.py")))
    assert one_sentence(done, f"{net} is trained by {right}", own)
    assert not list(tmp_path.iterdir())


def test_help_lists_the_settings_of_both_scripts():
    for name in ("train_VOLNet.py", "eval.py"):
        done = subprocess.run([sys.executable, name, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0 and "--model.init_from" in done.stdout
