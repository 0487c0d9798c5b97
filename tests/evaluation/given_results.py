"""A small split, and what another program wrote for it: embeddings, maps, separated sounds."""

import json

import numpy as np
from kill_and_resume import SMALL

import eval as script

SETTINGS = {"train.workers": 0, **{name: value for name, value in SMALL.items() if name.startswith(("data.", "spec"))}}
CONFIG = "configs/demo_AVENet.py"


def words(settings):
    """The words of settings and options, {name: value}; None for an option without a value."""
    pairs = [(f"--{name}", value) for name, value in settings.items()]
    return [str(word) for pair in pairs for word in pair if word is not None]


def measure(root, out, **options):
    """Run eval.py on results of another program; returns metrics.json."""
    settings = {"config": CONFIG, "out": out, "data.root": root, **SETTINGS, **options}
    script.main(words(settings))
    return json.loads((out / "metrics.json").read_text())


def clip_names(root, split="test"):
    return sorted(json.loads((root / split / "vid2genre.json").read_text()))


def save_vectors(path, clips, seed=0, **changes):
    """Write embeddings of 8 random numbers for each clip, and its sound's near them."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(len(clips), 8))
    arrays = {
        "clip": np.array([*clips, *clips]), "modality": np.repeat(["frame", "sound"], len(clips)),
        "vector": np.concatenate([frames, frames + rng.normal(size=frames.shape)]),
    }  # fmt: skip
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return arrays
