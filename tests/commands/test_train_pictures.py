"""Datasets of frames and sounds from end to end, as a user runs the commands: check, train, evaluate, shards."""

import csv
import json
import shutil

import av
import numpy as np
import pytest
import timm
import torch
from helpers import make_dataset, write_json
from kill_and_resume import SMALL, command, train_command
from PIL import Image
from training import one_sentence, run

from utils.run import read_log

SETTINGS = SMALL | {
    "data.cache_gb": 0, "data.frame_step": 0.2, "train.epochs": 1, "train.workers": 1,
}  # fmt: skip


def to_frames(videos, target, every=0):
    """Take the first frame of each video as ID.jpg, or every one as ID/000001.jpg, and keep the sounds and tables.

    Args:
        videos: root of a dataset of videos.
        target: root to write.
        every: frames per second of the videos, to keep all; 0: the first alone.
    """
    for split in ("train", "val", "test"):
        shutil.copytree(videos / split / "audio", target / split / "audio")
        for table in ("vid2genre.json", "boxes.json"):
            shutil.copy(videos / split / table, target / split / table)
        for mp4 in sorted((videos / split / "video").glob("*.mp4")):
            folder = target / split / "frames" / (mp4.stem if every else "")
            folder.mkdir(parents=True, exist_ok=True)
            with av.open(str(mp4)) as container:
                for number, frame in enumerate(container.decode(video=0), 1):
                    name = f"{number:06d}" if every else mp4.stem
                    frame.to_image().save(folder / f"{name}.jpg", quality=95)
                    if not every:
                        break
    if every:
        write_json(target / "frames.json", {"rate": every})
    return target


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("videos") / "set", train=24, val=8, test=8)


@pytest.fixture(scope="module")
def pictures(videos, tmp_path_factory):
    """The layout of EZ-VSL; grey blocks, from which JPEG takes nothing, so that shards hold the very same frames."""
    root = to_frames(videos, tmp_path_factory.mktemp("pictures") / "set")
    rng = np.random.default_rng(0)
    for path in sorted(root.glob("*/frames/*.jpg")):
        blocks = rng.integers(20, 236, (3, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(blocks[:, :, None].repeat(3, 2)).save(path, quality=100)
    return root


def done(script, words):
    finished = script(words)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def numbers(run_dir):
    """The last validation of a run."""
    return [line for line in read_log(run_dir) if line["kind"] == "val"][-1]


@pytest.mark.slow
def test_check_train_evaluate_and_train_from_shards(pictures, tmp_path, script):
    checked = run(command("data/check_data.py", {"csv": tmp_path / "check.csv", "workers": 1}, pictures))
    assert checked.returncode == 0 and "40 of 40 clips are ok" in checked.stdout, checked.stderr
    with open(tmp_path / "check.csv", newline="", encoding="utf-8") as file:
        assert {row["kind"] for row in csv.DictReader(file)} == {"ok"}

    done(script, train_command(pictures, tmp_path / "folder", SETTINGS))
    done(script, command("eval.py", {"checkpoint": tmp_path / "folder" / "best.pt"}))
    metrics = json.loads((tmp_path / "folder" / "eval_test" / "metrics.json").read_text())
    assert metrics["clips"] == 8 and metrics["skipped"] == 0
    assert {"avc", "retrieval"} <= metrics.keys() and 0 < metrics["retrieval"]["im-aud"]["ndcg"] <= 1

    shards = tmp_path / "shards"
    words = {"rate": 8000, "size": 64, "quality": 100, "workers": 1}
    assert run(command("data/build_shards.py", words, pictures, shards)).returncode == 0
    done(script, train_command(shards, tmp_path / "sharded", SETTINGS))
    one, other = numbers(tmp_path / "folder"), numbers(tmp_path / "sharded")
    assert {key: one[key] for key in ("loss", "accuracy")} == {key: other[key] for key in ("loss", "accuracy")}
    done(script, command("eval.py", {"checkpoint": tmp_path / "sharded" / "best.pt"}))
    sharded = json.loads((tmp_path / "sharded" / "eval_test" / "metrics.json").read_text())
    assert sharded["avc"] == metrics["avc"] and sharded["retrieval"] == metrics["retrieval"]


PIXELS = {
    "data.frame_size": 32, "data.resize_size": 36, "data.sample_rate": 8000, "train.batch_size": 4, "train.epochs": 1,
    "mix.samples": 8159, "mix.n_fft": 510, "mix.hop": 255, "mix.freq_bins": 32, "train.workers": 1,
    "model.width": 4, "model.sound_width": 4, "model.num_channels": 4, "model.unet_depth": 3,
}  # fmt: skip
NETS = {
    "VOLNet": (SETTINGS, "localization"),
    "PixelPlayer": (PIXELS, "separation"),
    "AVENet_MF": (SETTINGS | {"data.frames": 8}, "retrieval"),
    "AVENet_OF": (SETTINGS | {"data.flow": "dis", "data.flow_fields": 3}, "retrieval"),
}


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_each_net_trains_on_frames_at_a_rate_and_is_evaluated(net, videos, tmp_path, script):
    settings, part = NETS[net]
    root = to_frames(videos, tmp_path / "set", every=10)
    name = f"train_{net.removesuffix('_MF').removesuffix('_OF')}.py"
    done(script, train_command(root, tmp_path / "run", settings, script=name, config=f"configs/demo_{net}.py"))
    done(script, command("eval.py", {"checkpoint": tmp_path / "run" / "best.pt"}))
    assert part in json.loads((tmp_path / "run" / "eval_test" / "metrics.json").read_text())


@pytest.mark.slow
def test_one_picture_a_clip_serves_localization_frozen_features_and_a_cache(pictures, tmp_path, script):
    config, settings = "configs/demo_VOLNet.py", SETTINGS | {"data.cache_gb": 0.05}
    done(script, train_command(pictures, tmp_path / "run", settings, script="train_VOLNet.py", config=config))
    done(script, command("eval.py", {"checkpoint": tmp_path / "run" / "best.pt"}))
    metrics = json.loads((tmp_path / "run" / "eval_test" / "metrics.json").read_text())
    assert metrics["localization"]["frames"] > 0

    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    frozen = {
        "model.vision": "test_resnet", "model.vision_weights": tmp_path / "weights.pth", "train.lr_vision": 0,
        "data.feature_frames": 2, "data.feature_views": 1, "data.features_dir": tmp_path / "features",
        "data.cache_gb": 0, "data.frame_size": 64, "data.resize_size": 64,
    }  # fmt: skip
    done(script, train_command(pictures, tmp_path / "frozen", SETTINGS | frozen))
    assert list((tmp_path / "features").rglob("features.npy"))


def test_nets_of_several_frames_are_refused(pictures, tmp_path, script):
    words = train_command(pictures, tmp_path / "run", NETS["AVENet_MF"][0], config="configs/demo_AVENet_MF.py")
    assert one_sentence(script(words), "data.frames and data.flow need several frames of each clip")
