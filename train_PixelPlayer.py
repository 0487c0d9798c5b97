"""Train the nets of The Sound of Pixels to part mixed sounds by looking at who plays them.

    python train_PixelPlayer.py --config configs/demo_PixelPlayer.py
    torchrun --nproc-per-node 4 train_PixelPlayer.py --config configs/config_PixelPlayer.py --data.root ROOT

The paper: The Sound of Pixels, arXiv 1804.03160, section 3. `--help` lists every setting.
"""

import torch

from dataset.data_module import MixtureDataModule
from dataset.mixes import fixed_mixtures
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform, stack_sources
from evaluation.tasks.separation import validate_separation
from models import build_net, imagenet
from models.losses import avc_loss, mask_loss
from utils import checkpoint, distributed
from utils.command_line import parse_train_command
from utils.engine import fit, pick_device, to_device
from utils.errors import exit_on_user_error
from utils.files import write_json
from utils.health import diagnose_masks, mask_metrics
from utils.memory import disable_malloc_trim
from utils.run import Run, add_resume_option

START = 64  # clips that the last layers are scaled on


def main(argv=None):
    args, config = parse_train_command(
        argv, __doc__, add_resume_option, config_file="configs/config_PixelPlayer.py", script="train_PixelPlayer.py"
    )
    train, mix, device = config.train, config.mix, pick_device()
    disable_malloc_trim()

    # Batches of B clips, which become B mixtures; and the fixed mixtures of different classes that are measured.
    data = MixtureDataModule(config, device, distributed.rank(), distributed.world_size())
    fixed = fixed_mixtures(data.splits["val"], mix)
    run = Run(config, args.resume)
    if distributed.rank() == 0:
        ids = data.splits["val"].ids
        write_json(run.folder / "val_pairs.json", [[ids[place] for place in one] for one in fixed])
    skipped = run.skip_handler(config.data.on_error, data.splits)
    see, spectra = MixtureTransform(config, train=True), MixtureSTFT(mix)

    torch.manual_seed(train.seed)
    model = build_net(config.model)
    if train.avc_loss_weight:
        model.add_avc_branch(config.model.width, config.model.dim)
    model.to(device)
    taken = []
    if config.model.init_from and not run.resumed:
        taken = checkpoint.init_from(model, config.model.init_from)
        run.log_message(f"{len(taken)} weights taken from {config.model.init_from}")
    elif config.model.vision_weights and not run.resumed:
        imagenet.load_imagenet_resnet18(model.frames.body, config.model.vision_weights)
    if train.data_dependent_init and "frames.head.weight" not in taken and not run.resumed:
        plain, batch = MixtureTransform(config, train=False), to_device(data.init_batch(skipped, START), device)
        frames, waves = plain(batch)
        sounds = plain.matching(batch) if train.avc_loss_weight and "match.fc3.weight" not in taken else None
        model.data_dependent_init(frames, spectra.net_input(spectra.stft(waves)), sounds)

    def step(model, batch):
        frames, waves = see(batch)  # (B, T, 3, S, S), (B, samples)
        seen, found = model.frames.backbone_features(frames), {}  # (B, C, T, h, w)
        if train.avc_loss_weight:
            match, found["avc_accuracy"] = avc_loss(model.match(seen, see.matching(batch))[2])  # of (B, B) pairs
            found["loss_match"] = match
        if batch["progress"] < train.avc_warmup:
            return match, found
        sources = stack_sources(spectra.stft(waves) / mix.sources, mix.sources)  # (B, N, bins, columns)
        mixture = sources.sum(1)
        maps = model.sound_maps(spectra.net_input(mixture))  # (B, K, rows, columns)
        logits = model.mask_logits(
            stack_sources(model.pooled_features(seen), mix.sources), maps
        )  # (B, N, rows, columns)
        targets, weights = spectra.targets(sources, mixture), spectra.weights(mixture)
        loss = mask_loss(logits, targets, weights, mix.mask)
        found |= mask_metrics(logits, targets, weights)
        if train.avc_loss_weight:
            found["loss_masks"] = loss
            loss = (1 - train.avc_loss_weight) * loss + train.avc_loss_weight * match
        return loss, found

    def evaluate(model):
        return validate_separation(model, config, data.val_batches(skipped), fixed)

    result = fit(
        model,
        run,
        groups=model.parameter_groups(train.lr_vision, train.last_layer_lr_mult),
        batches=lambda start: data.train_batches(start, skipped),
        steps_per_epoch=data.steps_per_epoch,
        step=step,
        evaluate=evaluate,
        best="gain",
        diagnose=diagnose_masks,
    )
    if distributed.rank() == 0:
        print(
            f"best validation: {result['gain']:.2f} dB better than the mixture (ideal binary mask "
            f"{result['gain_ideal']:.2f}, pictures exchanged {result['gain_swapped']:.2f}); {run.best}"
        )
        print(f"next: python eval.py --checkpoint {run.best}")


if __name__ == "__main__":
    with exit_on_user_error(), distributed.process_group():
        main()
