"""Train the nets of The Sound of Pixels to part mixed sounds by looking at who plays them.

    python train_PixelPlayer.py --config configs/demo_PixelPlayer.py
    torchrun --nproc-per-node 4 train_PixelPlayer.py --config configs/config_PixelPlayer.py --data.root ROOT

The paper: The Sound of Pixels, arXiv 1804.03160, section 3. `--help` lists every setting.
"""

import sys

import torch

from dataset.mixes import MixData, MixTransform, fixed_mixtures
from dataset.spectra import Spectra, mixed
from evaluation.separation import validate
from models import build, imagenet
from utils import checkpoint, distributed
from utils.avc import avc_loss
from utils.config import parse
from utils.engine import fit, pick_device, to_device
from utils.errors import UserError, reported
from utils.files import write_json
from utils.log import Run, resume_option
from utils.masks import diagnose, mask_loss, told_apart
from utils.memory import keep_freed_memory

START = 64  # clips that the last layers are scaled on


def main(argv=None):
    args, config, _ = parse(
        argv if argv is not None else sys.argv[1:], __doc__, resume_option, config_file="configs/config_PixelPlayer.py"
    )
    train, mix, device = config.train, config.mix, pick_device()
    if config.model.name != "PixelPlayer":
        raise UserError(f"{config.model.name} doesn't part sounds: set --model.name PixelPlayer")
    keep_freed_memory()

    # Batches of B clips, which become B mixtures; and the fixed mixtures of different classes that are measured.
    data = MixData(config, device, distributed.rank(), distributed.ranks())
    fixed = fixed_mixtures(data.splits["val"], mix)
    run = Run(config, args.resume)
    if distributed.rank() == 0:
        ids = data.splits["val"].ids
        write_json(run.folder / "val_pairs.json", [[ids[place] for place in one] for one in fixed])
    skipped = run.skip_list(config.data.on_error, data.splits)
    see, spectra = MixTransform(config, train=True), Spectra(mix)

    torch.manual_seed(train.seed)
    model = build(config.model)
    if train.pooled:
        model.learn_matches(config.model.width, config.model.dim)
    model.to(device)
    taken = []
    if config.model.init_from and not run.resumed:
        taken = checkpoint.init_from(model, config.model.init_from)
        run.say(f"{len(taken)} weights taken from {config.model.init_from}")
    elif config.model.imagenet and not run.resumed:
        imagenet.start_resnet18(model.frames.body, config.model.imagenet)
    if train.start_from_data and "frames.head.weight" not in taken and not run.resumed:
        plain, batch = MixTransform(config, train=False), to_device(data.first(skipped, START), device)
        frames, waves = plain(batch)
        sounds = plain.matching(batch) if train.pooled and "match.fc3.weight" not in taken else None
        model.start_from_data(frames, spectra.net_input(spectra.stft(waves)), sounds)

    def step(model, batch):
        frames, waves = see(batch)  # (B, T, 3, S, S), (B, samples)
        seen, found = model.frames.seen(frames), {}  # (B, C, T, h, w)
        if train.pooled:
            match, found["matched"] = avc_loss(model.match(seen, see.matching(batch))[2])  # of (B, B) pairs
            found["loss_match"] = match
        if batch["progress"] < train.matches_first:
            return match, found
        sources = mixed(spectra.stft(waves) / mix.sources, mix.sources)  # (B, N, bins, columns)
        mixture = sources.sum(1)
        maps = model.sound_maps(spectra.net_input(mixture))  # (B, K, rows, columns)
        logits = model.mask_logits(mixed(model.pooled_features(seen), mix.sources), maps)  # (B, N, rows, columns)
        targets, weights = spectra.targets(sources, mixture), spectra.weights(mixture)
        loss = mask_loss(logits, targets, weights, mix.mask)
        found |= told_apart(logits, targets, weights)
        if train.pooled:
            found["loss_masks"] = loss
            loss = (1 - train.pooled) * loss + train.pooled * match
        return loss, found

    def evaluate(model):
        return validate(model, config, data.held_out(skipped), fixed)

    result = fit(
        model,
        run,
        groups=model.parameter_groups(train.lr_frames, train.lr_decision),
        batches=lambda start: data.batches(start, skipped),
        steps_per_epoch=data.steps_per_epoch,
        step=step,
        evaluate=evaluate,
        best="gain",
        diagnose=diagnose,
    )
    if distributed.rank() == 0:
        print(
            f"best validation: {result['gain']:.2f} dB better than the mixture (ideal binary mask "
            f"{result['gain_ideal']:.2f}, pictures exchanged {result['gain_swapped']:.2f}); {run.best}"
        )
        print(f"next: python eval.py --checkpoint {run.best}")


if __name__ == "__main__":
    with reported(), distributed.joined():
        main()
