"""The shortcut that OtS sec. 3.3 warns of, with a planted artefact: the sound alone must not give the answer away.

Every clip clicks at each frame's time. Sounds cut around frames have their clicks at the same places of the second;
sounds cut at any time don't, whatever the picture shows.
"""

import numpy as np
import pytest
import torch
from helpers import make_clip, numbered, tone, write_genres
from sklearn.linear_model import LogisticRegression

from configs.schema import Config, Data
from dataset.loading.loader import collate
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips
from dataset.transforms.frames import PairTransform
from models import losses

RATE, STEP, CLIPS = 8000, 0.04, 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips that click every 40 ms, at the time of each frame, over a tone of their own."""
    root = tmp_path_factory.mktemp("clicks")
    for k in range(CLIPS):
        sound = tone(2.0, RATE, 200 + 20 * k, 0.1)
        sound[:: round(STEP * RATE)] += 0.6
        pictures = [numbered(k)] * 50
        make_clip(root / "train", f"clip{k:02d}", sound=sound, rate=RATE, pictures=pictures)
    write_genres(root / "train")
    return Clips(root, "train")


def scored_by_sound_alone(clips, negatives):
    """Held-out accuracy (0.5 is chance) of a classifier that hears the sound of a training pair and sees no picture."""
    pairs = PairDataset(clips, 32, RATE, STEP, off_grid=negatives == "off_grid")
    heard, answers = [], []
    for epoch in range(6):
        batch = collate([pairs[epoch, k] for k in range(CLIPS)])
        # Which sound each logit is about tells which sounds serve in matches and which in mismatches.
        count, sounds = CLIPS, len(batch["sounds"])
        logits = torch.zeros(count, sounds, requires_grad=True)
        losses.avc_loss(logits, negatives)[0].backward()
        for answer, used in ((1, logits.grad < 0), (0, logits.grad > 0)):
            which = used.nonzero()[:, 1]
            heard.append(np.abs(batch["sounds"].numpy()[which]).reshape(len(which), -1, round(STEP * RATE)).mean(1))
            answers.append(np.full(len(which), answer))
    half = len(heard) // 2
    train, test = ((np.concatenate(heard[s]), np.concatenate(answers[s])) for s in (slice(half), slice(half, None)))
    judge = LogisticRegression(class_weight="balanced", max_iter=200).fit(train[0] / 3e3, train[1])
    said = judge.predict(test[0] / 3e3)
    return np.mean([(said[test[1] == answer] == answer).mean() for answer in (0, 1)])


def test_sounds_cut_off_the_grid_give_mismatches_away(clips):
    assert scored_by_sound_alone(clips, "off_grid") > 0.95


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_our_pairs_do_not(clips, negatives):
    """Each second of sound serves in a match and, with equal weight, in mismatches."""
    assert scored_by_sound_alone(clips, negatives) == pytest.approx(0.5, abs=0.02)


def test_the_other_second_is_of_the_same_clip_and_changed_alike(clips):
    pairs = PairDataset(clips, 32, RATE, STEP, off_grid=True)
    plain, both = (PairDataset(clips, 32, RATE, STEP, off_grid=on)[3, 7] for on in (False, True))
    assert "other_sound" not in plain
    assert all(np.array_equal(plain[key], both[key]) for key in ("frame", "sound", "seed"))
    assert both["other_sound"].shape == (RATE,) and not np.array_equal(both["other_sound"], pairs[4, 7]["other_sound"])
    pitch = [np.abs(np.fft.rfft(both[key] / 3e4))[150:1100].argmax() for key in ("sound", "other_sound")]
    assert pitch[0] == pitch[1]
    frames, sounds = PairTransform(Config(data=Data(frame_size=32, resize_size=32, sample_rate=RATE)), train=True)(
        collate([both, both])
    )
    assert len(frames) == 2 and len(sounds) == 4


def test_the_loss_takes_a_frames_own_sound_and_the_next_clips_other():
    logits = torch.arange(18.0).view(3, 6) / 10
    loss, _ = losses.avc_loss(logits, "off_grid")
    matches, mismatches = logits[[0, 1, 2], [0, 1, 2]], logits[[0, 1, 2], [4, 5, 3]]
    expected = (torch.nn.functional.softplus(-matches).mean() + torch.nn.functional.softplus(mismatches).mean()) / 2
    assert loss.item() == pytest.approx(expected.item())
