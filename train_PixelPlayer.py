"""Train PixelPlayer, the net of The Sound of Pixels, to separate mixed sounds by frames of their sources.

    python train_PixelPlayer.py --config configs/demo_PixelPlayer.py
    torchrun --nproc-per-node 4 train_PixelPlayer.py --config configs/config_PixelPlayer.py --data.root ROOT

The paper: The Sound of Pixels, arXiv 1804.03160, section 3. `--help` lists every setting.
"""

import utils.startup  # isort: skip  # noqa: F401

from utils.arguments import answer_help
from utils.command_line import add_resume_option, parse_train_command

CONFIG, SCRIPT = "configs/config_PixelPlayer.py", "train_PixelPlayer.py"
if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_train_command(None, __doc__, add_resume_option, CONFIG, SCRIPT))

from functools import partial

import torch

from dataset.data_module import MixtureDataModule
from dataset.loading.loader import Batch
from dataset.mixes import fixed_mixtures
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform, stack_sources
from evaluation.report.run_report import write_run_report
from evaluation.tasks.separation import validate_separation
from models import build_net
from models.losses import make_separation_step
from models.pixelplayer import PixelPlayer
from models.pretrained import frozen_encoder, learning_rates, set_up_encoders
from models.size import check_memory
from utils import distributed
from utils.data_start import start_from_data
from utils.engine import fit
from utils.errors import exit_on_user_error
from utils.files import write_json
from utils.health import diagnose_masks
from utils.kernels import compile_encoders
from utils.precision import autocast
from utils.training import setup_training


def main(argv: list[str] | None = None) -> None:
    """Train PixelPlayer; `argv` is the command line without the script's name, None for that of this process."""
    # Batches of B clips, which become B mixtures; and fixed mixtures of different classes for validation.
    config, device, data, run, on_skip = setup_training(argv, __doc__, SCRIPT, CONFIG, MixtureDataModule)
    run.keep_report(write_run_report)
    train, mix = config.train, config.mix
    mixtures = fixed_mixtures(data.splits["val"], mix)
    if distributed.rank() == 0:
        ids = data.splits["val"].ids
        write_json(run.folder / "val_pairs.json", [[ids[index] for index in mixture] for mixture in mixtures])
    transform, val_transform = MixtureTransform(config, train=True), MixtureTransform(config, train=False)
    spectra, stack = MixtureSTFT(mix), partial(stack_sources, sources=mix.sources)

    # The net, with other nets' weights or initialized so that it learns (docs/starting_well.md).
    check_memory(config, device, train.batch_size // distributed.world_size())
    torch.manual_seed(train.seed)
    model = build_net(config.model)
    assert isinstance(model, PixelPlayer)
    if train.avc_loss_weight and not model.match:
        model.add_avc_branch(config.model.width, config.model.dim, config.model.dropout, config.model.pool)
    model.to(device)
    taken = run.init_from(model)
    set_up_encoders(model, config, taken, run.resumed is not None)
    with autocast(device, train.precision):
        data.use_features(config, frozen_encoder(model, config), run.log_message, on_skip)
    names = ["frames.body", "sounds", "match.audio"] if model.match else ["frames.body", "sounds"]
    encoders = [model.get_submodule(name) for name in names]
    if train.data_dependent_init and "frames.head.weight" not in taken and not run.resumed:
        with_match = model.match is not None and "match.fc3.weight" not in taken

        def prepare(batch: Batch) -> tuple[torch.Tensor, ...]:
            frames, waves = val_transform(batch)
            inputs = frames, spectra.net_input(spectra.stft(waves))
            return (*inputs, val_transform.avc_spectrograms(batch)) if with_match else inputs

        batch = data.init_batch(on_skip, count=64)
        start_from_data(model.data_dependent_init, batch, prepare, encoders, device, train)
    compile_encoders(encoders, train)

    best = fit(
        model,
        run,
        param_groups=model.parameter_groups(
            learning_rates(config).get("frames.body"), train.lr_vision_head, train.last_layer_lr_mult
        ),
        batches=lambda start: data.train_batches(start, on_skip),
        steps_per_epoch=data.steps_per_epoch,
        step=make_separation_step(
            transform, spectra, stack, mix.mask, train.avc_loss_weight, train.avc_warmup, train.loss, train.temperature
        ),
        evaluate=lambda model: validate_separation(model, config, data.val_batches(on_skip), mixtures),
        best="gain",
        diagnose=diagnose_masks,
        unused_until=train.avc_warmup,
    )
    others = f"ideal binary mask {best['gain_ideal']:.2f}, frames swapped {best['gain_swapped']:.2f}"
    run.print_best(f"{best['gain']:.2f} dB better than the mixture ({others})")


if __name__ == "__main__":
    with exit_on_user_error(*distributed.TRAINING_MEMORY), distributed.process_group():
        main()
