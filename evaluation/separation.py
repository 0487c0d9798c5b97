"""Fixed mixtures through a PixelPlayer: what each picture is given of the sound, beside the truth and the ceilings."""

import numpy as np
import torch

from dataset.mixes import MixTransform
from dataset.spectra import Spectra, ideal_masks
from utils.engine import autocast, to_device

AT_ONCE = 16  # mixtures in a forward pass


class Heard:
    """Clips of a split, each seen and heard once.

    Attributes:
        features: (M, K) of the pictures, waves: (M, samples); float32 on the net's device. row: {place in the split: M}.
    """

    def __init__(self, model, config, batches):
        device, see = next(model.parameters()).device, MixTransform(config, train=False)
        features, waves, places = [], [], []
        for batch in batches:
            if not len(batch["indices"]):
                continue
            frames, sound = see(to_device(batch, device))
            with autocast(device, config.train.precision):
                features.append(model.frame_features(frames))
            waves.append(sound)
            places += batch["indices"].tolist()
        self.features, self.waves = torch.cat(features), torch.cat(waves)
        self.row = {place: row for row, place in enumerate(places)}


def part(model, config, heard, mixtures):
    """Separate mixtures, some at a time.

    Args:
        model: a PixelPlayer, in eval mode. config: its `Config`. heard: a `Heard`.
        mixtures: list of lists of N places, all in heard.row.

    Yields:
        for each mixture a dict of arrays (N, samples) float32: truths; estimates; swapped: the estimates with each
        picture's given to the one before; mixture (1, samples); ideal_binary and ideal_ratio: what the masks give that
        know the truth, at each bin; and masks (N, rows, columns), spectrogram (rows, columns) as the net sees it,
        targets (N, rows, columns).
    """
    spectra, samples = Spectra(config.mix), config.mix.samples
    for start in range(0, len(mixtures), AT_ONCE):
        rows = torch.tensor([[heard.row[place] for place in one] for one in mixtures[start : start + AT_ONCE]])
        truths = heard.waves[rows] / config.mix.sources  # (B, N, samples)
        sources = spectra.stft(truths)
        mixture = sources.sum(1)
        seen = spectra.net_input(mixture)
        with autocast(seen.device, config.train.precision):
            maps = model.sound_maps(seen)
        logits = model.mask_logits(heard.features[rows], maps)
        masks, magnitudes = torch.sigmoid(logits), (sources.abs(), mixture.abs()[:, None])
        out = {
            "truths": truths,
            "mixture": truths.sum(1, keepdim=True),
            "estimates": spectra.separated(masks, mixture, samples),
            "ideal_binary": spectra.waves(ideal_masks(*magnitudes, "binary") * mixture[:, None], samples),
            "ideal_ratio": spectra.waves(ideal_masks(*magnitudes, "ratio") * mixture[:, None], samples),
            "masks": masks,
            "spectrogram": seen[:, 0],
            "targets": spectra.targets(sources, mixture),
            "logits": logits,
            "weights": spectra.weights(mixture),
        }
        out["swapped"] = out["estimates"].roll(1, 1)
        out = {name: value.cpu() for name, value in out.items()}
        for k in range(len(rows)):
            yield {name: value[k].numpy() for name, value in out.items()}


def validate(model, config, batches, mixtures):
    heard = Heard(model, config, batches)
    mixtures = [one for one in mixtures if all(place in heard.row for place in one)]

    def sdr(t, e):
        return 10 * np.log10((t**2).sum(-1) / ((t - e) ** 2).sum(-1).clip(1e-12) + 1e-12)

    rows, loss, keys = [], [], ("estimates", "swapped", "ideal_binary", "ideal_ratio")
    from utils.masks import mask_loss, told_apart
    for one in part(model, config, heard, mixtures):
        if (np.abs(one["truths"]).sum(-1) < 1e-5).any():
            continue
        base = sdr(one["truths"], one["mixture"])
        rows.append([np.mean(sdr(one["truths"], one[k]) - base) for k in keys])
        l, t, w = (torch.from_numpy(one[k])[None] for k in ("logits", "targets", "weights"))
        loss.append([mask_loss(l, t, w, config.mix.mask).item(), told_apart(l, t, w)["accuracy"].item()])
    rows, loss = np.array(rows), np.array(loss)
    m = rows.mean(0)
    return {
        "nsdr": float(m[0]), "nsdr_error": float(rows[:, 0].std() / len(rows) ** 0.5), "nsdr_ideal_binary": float(m[2]),
        "share": float(m[0] / m[2]), "swap": float((rows[:, 0] > rows[:, 1]).mean()), "loss": float(loss[:, 0].mean()), "accuracy": float(loss[:, 1].mean()),
    }
