"""Fixed mixtures through a PixelPlayer: what each picture is given of the sound, beside the truth and the ceilings."""

import numpy as np
import soundfile
import torch

from dataset.loading.loader import drop_unreadable, make_loader, make_skip_handler
from dataset.loading.order import sequential_batches
from dataset.mixes import MixtureDataset, fixed_mixtures
from dataset.reading.shards import open_split
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform, ideal_masks
from evaluation.measures import separation
from evaluation.measures.separation import snr_improvement
from evaluation.report.mixture_figures import write_mixture_images
from models.losses import mask_loss
from utils.engine import autocast, to_device
from utils.errors import UserError
from utils.files import write_json
from utils.health import mask_metrics

MIXTURES_PER_BATCH = 16  # mixtures in a forward pass


class ClipFeatures:
    """Clips of a split, each seen and heard once.

    Args:
        model: a PixelPlayer, in eval mode. config: its `Config`. batches: collated ones of `Mixes`.

    Attributes:
        features: (M, K) of the pictures, waves: (M, samples); float32 on the net's device.
        row: {place in the split: place among the M}.
    """

    def __init__(self, model, config, batches):
        device, see = next(model.parameters()).device, MixtureTransform(config, train=False)
        features, waves, places = [], [], []
        for batch in batches:
            if len(batch["indices"]):
                frames, sound = see(to_device(batch, device))
                with autocast(device, config.train.precision):
                    found = model.frame_features(frames)
                    if config.eval.flip_tta:
                        found = (found + model.frame_features(frames.flip(-1))) / 2
                features.append(found)
                waves.append(sound)
                places += batch["indices"].tolist()
        self.features, self.waves = (torch.cat(part) if part else torch.empty(0) for part in (features, waves))
        self.row = {place: row for row, place in enumerate(places)}

    def all_of(self, mixtures):
        """Those of the mixtures, lists of places in the split, whose clips could all be read."""
        return [one for one in mixtures if all(place in self.row for place in one)]


def separate_mixtures(model, config, heard, mixtures):
    """Separate mixtures, some at a time.

    Args:
        model: a PixelPlayer, in eval mode. config: its `Config`. heard: a `Heard`.
        mixtures: list of lists of N places, all in heard.row.

    Yields:
        for some mixtures together a dict of float32 tensors on the CPU. Sounds, (B, N, samples): truths; estimates;
        swapped, the estimates with each picture's given to the next; ideal_binary and ideal_ratio, what the masks give
        that know the truth at each bin; mixture (B, samples). In the net's rows: spectrogram and weights (B, 1, rows,
        columns), logits and targets (B, N, rows, columns).
    """
    spectra, samples = MixtureSTFT(config.mix), config.mix.samples
    for start in range(0, len(mixtures), MIXTURES_PER_BATCH):
        rows = torch.tensor(
            [[heard.row[place] for place in one] for one in mixtures[start : start + MIXTURES_PER_BATCH]]
        )
        truths = heard.waves[rows] / config.mix.sources
        sources = spectra.stft(truths)  # (B, N, bins, columns)
        mixture = sources.sum(1)
        spectrogram = spectra.net_input(mixture)
        with autocast(spectrogram.device, config.train.precision):
            maps = model.sound_maps(spectrogram)
        logits = model.mask_logits(heard.features[rows], maps)
        estimates = spectra.apply_masks(torch.sigmoid(logits), mixture, samples)
        ideal = {
            f"ideal_{kind}": spectra.waves(
                ideal_masks(sources.abs(), mixture.abs()[:, None], kind) * mixture[:, None], samples
            )
            for kind in ("binary", "ratio")
        }
        found = {"truths": truths, "mixture": truths.sum(1), "estimates": estimates, "swapped": estimates.roll(1, 1)}
        found |= {"spectrogram": spectrogram, "weights": spectra.weights(mixture), "logits": logits}
        found |= {"targets": spectra.targets(sources, mixture), **ideal}
        yield {name: value.cpu() for name, value in found.items()}


def validate_separation(model, config, batches, mixtures):
    """Measures of the validation split's fixed mixtures, quick enough to be taken often.

    gain: by how many dB less an estimate is off its source than the mixture is (`evaluation.measures.separation.snr_improvement`; eval.py's SDR
    forgives filters, and takes minutes), with gain_error, its standard error; gain_ideal, of the ideal binary mask;
    gain_swapped, with the pictures exchanged. The mixture itself has 0. And loss, and what `told_apart` gives.

    Args:
        model, config, batches: as of `Heard`. mixtures: of `fixed_mixtures`.

    Returns:
        dict of floats.

    Raises:
        UserError: not one mixture can be measured.
    """
    heard = ClipFeatures(model, config, batches)
    gains, others = [], []
    for found in separate_mixtures(model, config, heard, heard.all_of(mixtures)):
        gains.append(
            [snr_improvement(found["truths"], found[kind]) for kind in ("estimates", "ideal_binary", "swapped")]
        )
        masks = (found["logits"], found["targets"], found["weights"])
        others.append({"loss": mask_loss(*masks, config.mix.mask), **mask_metrics(*masks)})
    gains = torch.cat([torch.stack(some, 1) for some in gains]) if gains else torch.empty(0, 3)
    gains = gains[gains.isfinite().all(1)].double()  # a silent source is none
    if len(gains) < 2:
        raise UserError("the validation split has fewer than 2 mixtures of sources that are heard: it needs more clips")
    means = dict(zip(("gain", "gain_ideal", "gain_swapped"), gains.mean(0).tolist(), strict=True))
    means["gain_error"] = (gains[:, 0].std() / len(gains) ** 0.5).item()
    return means | {name: float(np.mean([one[name] for one in others])) for name in others[0]}


# ------------------------------------------------------------------------------------------------------ eval.py


def separate_split(net, split, classes, out, pictures):
    """Separate a split's fixed mixtures, measure them, and write sounds and pictures of some into OUT/separation.

    Args:
        net: an `evaluation.trained_net.TrainedNet` of a PixelPlayer. split: its name. classes: an `Ontology`, for names.
        out: Path. pictures: mixtures that are written, spread over all.

    Returns:
        (dict of measures as metrics.json has them, number of clips, {id: reason} of those that can't be read).
    """
    config, clips = net.config, open_split(net.config.data, split)
    mixtures, skipped = fixed_mixtures(clips, config.mix), dict(clips.skipped)
    samples = MixtureDataset(clips, config.data, config.mix, middle=True)
    batches = make_loader(
        samples, sequential_batches(len(samples), config.eval.batch_size), config.train.workers, net.device
    )
    heard = ClipFeatures(
        net.model, config, drop_unreadable(batches, make_skip_handler(skipped, config.data.on_error), smallest=0)
    )
    whole = heard.all_of(mixtures)
    shown = set(np.linspace(0, len(whole) - 1, min(pictures, len(whole))).round().astype(int).tolist())
    entries = []

    def pairs():
        for found in separate_mixtures(net.model, config, heard, whole):
            for k in range(len(found["truths"])):
                one = {name: value[k].numpy() for name, value in found.items()}
                places = whole[len(entries)]
                ids, labels = [clips.ids[p] for p in places], [clips.labels[p] for p in places]
                entries.append({"clips": ids, "classes": [", ".join(map(classes.name, mids)) for mids in labels]})
                if len(entries) - 1 in shown:
                    entries[-1] = {"folder": f"{len(entries):04d}"} | entries[-1]
                    frames = [samples[0, place]["frame"] for place in places]
                    _write(out / "separation" / entries[-1]["folder"], one, frames, net)
                yield one

    scores = separation.score_pairs(pairs(), workers=torch.get_num_threads())
    for entry, found in zip(entries, scores, strict=True):
        entry |= {"silent": found} if isinstance(found, str) else _figures(found)
    (out / "separation").mkdir(exist_ok=True)
    entries.sort(key=lambda entry: "folder" not in entry)  # those with sounds first
    write_json(out / "separation" / "pairs.json", entries)
    return separation.separation_summary(scores) | {"unreadable": len(mixtures) - len(whole)}, len(heard.row), skipped


def _figures(scores):
    """A pair's figures for pairs.json, dB, from `evaluation.measures.separation.score_pair`."""
    ours, mixture, _, ideal, _ = scores.tolist()  # of KINDS
    names = ("nsdr", "nsdr_ideal_binary", "sdr", "sir", "sar", "sdr_mixture", "sir_mixture")
    values = (ours[0] - mixture[0], ideal[0] - mixture[0], *ours, *mixture[:2])
    return {name: round(value, 3) for name, value in zip(names, values, strict=True)}


def _write(folder, found, frames, net):
    """The sounds and pictures of one mixture, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {"mixture": found["mixture"]}
    sounds |= {f"pred_{k}": sound for k, sound in enumerate(found["estimates"], 1)}
    sounds |= {f"true_{k}": sound for k, sound in enumerate(found["truths"], 1)}
    for name, sound in sounds.items():
        soundfile.write(folder / f"{name}.wav", sound.clip(-1, 1), net.config.data.sample_rate)
    write_mixture_images(folder, found, frames, [_energies(net, found, frame) for frame in frames])


def _energies(net, found, frame):
    """The energy that each place of a picture is given of the mixture: (h, w) float32 (SoP fig. 5)."""
    spectrogram = torch.from_numpy(found["spectrogram"])[None].to(net.device)
    sample = {"frames": torch.from_numpy(frame)[None], "sounds": torch.zeros(1, 1)}
    frames, _ = MixtureTransform(net.config, train=False)(to_device(sample, net.device))  # (1, T, 3, S, S)
    with autocast(net.device, net.config.train.precision):
        maps = net.model.sound_maps(spectrogram)[0]
        features = net.model.pixel_features(frames[0]).amax(0)  # (K, h, w), the maximum of the frames
    power = torch.exp(2 * spectrogram[0, 0])
    rows = net.model.masks_at_pixels(features, maps)
    return torch.cat([(masks**2 * power).sum((2, 3)) for masks in rows]).cpu().numpy()
