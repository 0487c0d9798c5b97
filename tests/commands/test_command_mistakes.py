"""A mistake in a call of train_AVENet.py or eval.py gets one sentence."""

import shutil

import pytest
import torch
from helpers import make_dataset
from kill_and_resume import SMALL, command, train_command
from training import one_sentence

from dataset.small_splits import warn_of_small_splits
from utils import checkpoint


class Malicious:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def places(whole, data, tmp_path_factory):
    """Files and folders to make mistakes with, by name."""
    folder = tmp_path_factory.mktemp("mistakes")
    place = {"data": data, "best": whole[0] / "best.pt", "missing": folder / "missing", "folder": folder}

    for name, content in (("empty", "{}"), ("malformed", "{not json"), ("other_form", '["a list"]')):
        place[name] = folder / name
        shutil.copytree(data, place[name], ignore=shutil.ignore_patterns("*.mp4", "*.wav"))
        (place[name] / "train" / "vid2genre.json").write_text(content)
    place["small"] = make_dataset(folder / "small", train=3, val=2, test=0)
    shutil.copytree(place["small"], folder / "half")
    (folder / "half" / "train" / "audio" / "train_0000.wav").unlink()

    content = checkpoint.load(place["best"])
    checkpoint.save(folder / "nothing_fits.pt", content | {"model": {"other": torch.zeros(3)}, "ema": None})
    (folder / "truncated.pt").write_bytes(place["best"].read_bytes()[:-1000])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("not a checkpoint")
    torch.save({"format": 1, "model": Malicious(folder / "it_ran")}, folder / "malicious.pt")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, folder / "foreign.pt")
    (folder / "config.py").write_text("config = 1 / 0\n")
    shutil.copytree(whole[0], folder / "damaged_run", ignore=shutil.ignore_patterns("tensorboard", "eval*"))
    shutil.copy(folder / "truncated.pt", folder / "damaged_run" / "last.pt")
    return place


# What is typed after `python train_AVENet.py --config configs/demo_AVENet.py SMALL-SETTINGS`, and what is said of it.
TRAINING_MISTAKES = {
    "no dataset": (["--data.root", "{missing}"], ["{missing}", "data/make_demo_data.py", "--data.root"]),
    "no dataset, the paper's config": (
        ["--config", "configs/config_AVENet.py", "--data.root", "{missing}"], ["{missing}", "data/make_demo_data.py"]),
    "an empty split": (["--data.root", "{empty}"], ["{empty}/train", "empty"]),
    "labels not in JSON": (["--data.root", "{malformed}"], ["{malformed}/train/vid2genre.json", "not valid JSON"]),
    "labels of another form": (["--data.root", "{other_form}"], ["{other_form}/train/vid2genre.json", "form"]),
    "a clip without its sound": (["--data.root", "{folder}/half"], ["train_0000", "no audio"]),
    "a batch larger than the dataset": (["--data.root", "{small}"], ["--train.batch_size", "{small}", "3"]),
    "more accumulated than the dataset": (["--train.grad_accum_steps", "7"], ["--train.grad_accum_steps", "24"]),
    "an unknown setting": (["--train.learning_rate", "1"], ["train.learning_rate", "nearest"]),
    "an unknown option": (["--resmue"], ["--resmue", "--help"]),
    "a word for a number": (["--train.epochs", "many"], ["train.epochs", "many", "whole number"]),
    "a fraction for a whole number": (["--model.width", "4.5"], ["model.width", "whole number"]),
    "a value out of range": (["--train.batch_size", "1"], ["train.batch_size", "at least 2"]),
    "no value": (["--train.lr"], ["--train.lr", "value"]),
    "another choice": (["--train.negatives", "some"], ["train.negatives", "all, one"]),
    "no such config": (["--config", "{missing}.py"], ["{missing}.py", "configs/"]),
    "a config that fails": (["--config", "{folder}/config.py"], ["{folder}/config.py", "ZeroDivisionError"]),
    "no such net": (["--model.name", "VENet"], ["model.name", "VENet", "AVENet"]),
    "a run directory below a file": (["--train.run_dir", "{folder}/text.pt/run"], ["text.pt/run", "--train.run_dir"]),
    "a run directory that is a file": (["--train.run_dir", "{folder}/text.pt"], ["text.pt", "--train.run_dir"]),
    "a start from another net": (["--model.init_from", "{folder}/nothing_fits.pt"], ["nothing_fits.pt", "fits"]),
    "a start from a missing file": (["--model.init_from", "{missing}"], ["{missing}", "no checkpoint"]),
    "a start from a malicious file": (["--model.init_from", "{folder}/malicious.pt"], ["malicious.pt", "code"]),
    "a damaged run": (["--resume", "--train.run_dir", "{folder}/damaged_run"], ["damaged_run/last.pt", "damaged"]),
    "a learning rate that explodes": (
        ["--train.optimizer", "adam", "--train.lr", "1e38", "--train.warmup", "0", "--train.save_every", "1"],
        ["not finite", "--train.lr"]),
}  # fmt: skip
# What is typed after `python eval.py`.
EVALUATION_MISTAKES = {
    "no checkpoint named": ([], ["--checkpoint"]),
    "no such checkpoint": (["--checkpoint", "{missing}"], ["{missing}", "no checkpoint"]),
    "a folder": (["--checkpoint", "{folder}"], ["{folder}"]),
    "a truncated checkpoint": (["--checkpoint", "{folder}/truncated.pt"], ["truncated.pt", "damaged"]),
    "an empty file": (["--checkpoint", "{folder}/empty.pt"], ["empty.pt", "damaged"]),
    "a text": (["--checkpoint", "{folder}/text.pt"], ["text.pt", "damaged"]),
    "a malicious checkpoint": (["--checkpoint", "{folder}/malicious.pt"], ["malicious.pt", "code"]),
    "a checkpoint of another project": (["--checkpoint", "{folder}/foreign.pt"], ["foreign.pt", "not written by"]),
    "another width": (["--checkpoint", "{best}", "--model.width", "8"], ["best.pt", "another net", "model.width"]),
    "no dataset": (["--checkpoint", "{best}", "--data.root", "{missing}"], ["{missing}", "--data.root"]),
    "no such split": (["--checkpoint", "{best}", "--split", "exam"], ["exam", "{data}"]),
    "a split that the dataset lacks": (["--checkpoint", "{best}", "--data.root", "{small}"], ["test", "{small}"]),
    "no such task": (["--checkpoint", "{best}", "--tasks", "guess"], ["--tasks", "guess"]),
    "no such ontology": (["--checkpoint", "{best}", "--eval.ontology", "{missing}"], ["{missing}", "--eval.ontology"]),
    "results below a file": (["--checkpoint", "{best}", "--out", "{folder}/text.pt/out"], ["text.pt/out", "--out"]),
    "a wrong type": (["--checkpoint", "{best}", "--eval.k", "few"], ["eval.k", "few"]),
}


@pytest.mark.parametrize("mistake", TRAINING_MISTAKES)
def test_a_mistake_in_training_gets_one_sentence(mistake, places, tmp_path, script):
    typed, said = TRAINING_MISTAKES[mistake]
    run_dir = tmp_path / "run"
    words = train_command(places["data"], run_dir, SMALL | {"train.workers": 0})
    done = script(words + [word.format(**places) for word in typed])
    assert one_sentence(done, *(part.format(**places) for part in said))
    assert done.stdout in ("", warn_of_small_splits({"val": 8}) + "\n")
    assert not list(tmp_path.glob("**/*.pt")) and not (places["folder"] / "it_ran").exists()


@pytest.mark.parametrize("mistake", EVALUATION_MISTAKES)
def test_a_mistake_in_evaluation_gets_one_sentence(mistake, places, script):
    typed, said = EVALUATION_MISTAKES[mistake]
    done = script(command("eval.py") + [word.format(**places) for word in typed])
    assert one_sentence(done, *(part.format(**places) for part in said)) and done.stdout == ""
    assert not (places["folder"] / "it_ran").exists()
