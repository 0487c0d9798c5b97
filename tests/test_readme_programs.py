"""Programs of strangers, written from the front page's section "In Python" alone, run in processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import make_dataset, numbered, small_checkpoint, tone
from PIL import Image

from evaluation.trained_net import load_trained_net

ROOT = Path(__file__).parent.parent
RANK = """
import sys
from pathlib import Path
import models
net = models.load(sys.argv[1])
pictures, waves = sorted(Path(sys.argv[2]).glob("*.jpg")), sorted(Path(sys.argv[3]).glob("*.wav"))
scores = net.embed_frames(pictures) @ net.embed_sounds(waves).T
for picture, row in zip(pictures, scores):
    ranked = row.argsort(descending=True)
    print(picture.name, *(waves[k].name for k in ranked))
"""
LOCATE = """
import sys
import models
net = models.load(sys.argv[1])
(map,) = net.localize(sys.argv[2], sys.argv[3])
y, x = divmod(map.argmax().item(), map.shape[1])
print(x, y)
"""


def run(program, *words):
    assert len(program.strip().splitlines()) <= 10
    done = subprocess.run([sys.executable, "-c", program, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_program_of_ten_lines_ranks_a_folder_of_sounds_for_each_picture(tmp_path):
    net = small_checkpoint(tmp_path / "run/best.pt")
    for name, size in (("b.jpg", (60, 40)), ("a.jpg", (33, 90)), ("c.jpg", (500, 300))):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(numbered(len(name) + size[0], size)).save(tmp_path / "pictures" / name)
    (tmp_path / "sounds").mkdir()
    heard = []
    for k in range(3):
        wave = np.rint(32767 * tone(1.0 + k, 8000, 200 * 2**k)).astype(np.int16)
        soundfile.write(tmp_path / f"sounds/{k}.wav", wave, 8000)
        heard.append(wave[len(wave) // 2 - 4000 :][:8000])  # the second in the middle
    words = run(RANK, net.parent, tmp_path / "pictures", tmp_path / "sounds")
    rows = np.array(words).reshape(3, 4)
    assert rows[:, 0].tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    opened = load_trained_net(net)
    side = opened.config.data.resize_size
    images = [
        Image.open(tmp_path / f"pictures/{name}.jpg").resize((side, side), Image.Resampling.BICUBIC) for name in "abc"
    ]
    v, a = opened.embed_frames(np.stack([np.asarray(image) for image in images])), opened.embed_sounds(np.stack(heard))
    for row, scores in zip(rows, (v @ a.T).numpy(), strict=True):
        ranked = [scores[int(name[0])] for name in row[1:]]
        assert sorted(row[1:]) == ["0.wav", "1.wav", "2.wav"] and np.diff(ranked).max() < 0.01  # resized otherwise


@pytest.mark.slow
def test_a_trained_net_ranks_the_right_sound_first(tmp_path):
    """A net of a minute's training knows which pitch goes with which color."""
    data = make_dataset(tmp_path / "data", train=96, val=12, test=12)
    words = [sys.executable, "train_AVENet.py", "--config", "configs/demo_AVENet.py", "--data.root", data]
    small = {"data.frame_size": 32, "data.resize_size": 36, "data.sample_rate": 8000, "model.width": 8}
    small |= {"train.run_dir": tmp_path / "run", "train.epochs": 20, "train.batch_size": 32, "train.workers": 0}
    words += [word for name, value in small.items() for word in (f"--{name}", value)]
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import models
    from dataset.reading.clips import Clips

    net, hits, clips = models.load(tmp_path / "run"), [], Clips(data, "test")
    pictures = []
    for index in range(12):
        with clips.open(index) as clip:
            pictures.append(clip.frame(0.7, 48))
    waves = [data / f"test/audio/{clip}.wav" for clip in clips.ids]
    order = (net.embed_frames(pictures) @ net.embed_sounds(waves).T).argsort(1, descending=True)
    for index in range(12):  # clip i is of class i % 3
        hits.append(int(clips.ids[order[index, 0]].rpartition("_")[2]) % 3 == index % 3)
    assert np.mean(hits) > 0.7


def test_a_program_of_ten_lines_prints_where_a_sound_comes_from(tmp_path):
    """The net hears nothing and sees what is red: the map's peak is where the red square is."""
    net = red_net(tmp_path / "best.pt")
    soundfile.write(tmp_path / "any.wav", tone(1.0, 8000), 8000)
    for left, top in ((150, 20), (30, 80)):  # whole locations of the map
        picture = np.full((160, 240, 3), (30, 60, 200), np.uint8)
        picture[top : top + 60, left : left + 60] = (220, 20, 20)
        Image.fromarray(picture).save(tmp_path / "red.png")
        x, y = map(int, run(LOCATE, net, tmp_path / "red.png", tmp_path / "any.wav"))
        assert left <= x < left + 60 and top <= y < top + 60


def red_net(path):
    """An AVOL-Net whose maps are high where the frame is red and not blue; its sounds are all the same."""
    settings = {"model.name": "AVOLNet", "data.frame_size": 128, "data.resize_size": 128, "train.precision": "fp32"}
    from utils import checkpoint

    content = checkpoint.load(small_checkpoint(path, **settings))
    weights = content["model"]
    for name, value in weights.items():
        if name.startswith("vision.") and name.endswith("0.weight"):
            value.zero_()
            first = name.startswith("vision.conv1_1")
            value[0, 0, 1, 1] = 1.0  # red passes through channel 0
            if first:
                value[0, 2, 1, 1] = -1.0
        elif name.startswith("vision.") and name.endswith(("running_mean", "1.bias")):
            value.zero_()
        elif name.startswith("vision.") and name.endswith(("running_var", "1.weight")):
            value.fill_(1)
    for layer in ("conv5", "conv6", "audio_fc2"):
        weights[f"{layer}.weight"].zero_()
        weights[f"{layer}.bias"].zero_()
    weights["conv5.weight"][0, 0] = weights["conv6.weight"][0, 0] = 1
    weights["audio_fc2.bias"][0] = 1
    weights["conv7.weight"].fill_(1)
    weights["conv7.bias"] = torch.zeros_like(weights["conv7.bias"])
    checkpoint.save(path, content)
    return path
