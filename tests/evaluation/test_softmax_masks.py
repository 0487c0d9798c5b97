"""Masks of a mixture's sources by a softmax: each bin is divided among them, as nothing else sounds."""

import numpy as np
import pytest
import soundfile
import torch
from test_mixture_noise import checkpoint, data, noise, run  # noqa: F401 - fixtures

from evaluation.mixture_separator import softmax_logits
from utils.errors import UserError


@pytest.mark.parametrize("sources", [2, 3])
def test_the_masks_are_the_softmax_over_the_sources(sources):
    logits = 5 * torch.randn(4, sources, 6, 3)
    torch.testing.assert_close(torch.sigmoid(softmax_logits(logits)), logits.softmax(1))


@pytest.fixture
def loud(checkpoint, tmp_path):  # noqa: F811
    """A net whose masks of two sources are far from adding up to 1."""
    content = torch.load(checkpoint)
    content["model"]["synthesizer.bias"].fill_(1)
    torch.save(content, tmp_path / "loud.pt")
    return tmp_path / "loud.pt"


def read(folder, name):
    return soundfile.read(folder / "separation/0001" / f"{name}.wav")[0]


def test_the_estimates_of_a_mixture_add_up_to_it(loud, data, tmp_path):  # noqa: F811
    settings = {"data.root": data, "mix.mask": "soft"}
    together, one_by_one = tmp_path / "together", tmp_path / "one_by_one"
    measured, _ = run(loud, together, **settings, **{"eval.softmax_masks": "true"})
    assert measured["separation"]["masks"] == "softmax"
    measured, _ = run(loud, one_by_one, **settings)
    assert "masks" not in measured["separation"]
    mixture = read(together, "mixture")
    middle = slice(600, -600)  # the window is not whole at the ends
    added = read(together, "pred_1") + read(together, "pred_2")
    # Rows of the spectrogram are interpolated, so masks add up to 1 in each of them too; sounds are 16-bit files.
    np.testing.assert_allclose(added[middle], mixture[middle], atol=3e-4)
    alone = read(one_by_one, "pred_1") + read(one_by_one, "pred_2")
    assert np.abs(alone - mixture)[middle].max() > 0.01


def test_noise_would_be_given_to_the_sources(checkpoint, data, noise, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=r"eval\.softmax_masks must be false with mix\.noise_root"):
        run(checkpoint, tmp_path, **{"data.root": data, "mix.noise_root": noise, "eval.softmax_masks": "true"})
