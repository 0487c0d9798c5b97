"""Train AVOL-Net to localize the object that sounds, on audio-visual correspondence.

    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from runs/demo_AVENet/best.pt
    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from ""       # from scratch

The paper: Objects that Sound, arXiv 1712.06651, section 5. `--help` lists every setting.
"""

import utils.startup  # isort: skip  # noqa: F401

from utils.arguments import answer_help
from utils.command_line import add_resume_option, parse_train_command

CONFIG, SCRIPT = "configs/config_VOLNet.py", "train_VOLNet.py"
if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_train_command(None, __doc__, add_resume_option, CONFIG, SCRIPT))

import torch

from dataset.data_module import AVCDataModule
from dataset.transforms.frames import PairTransform
from evaluation.measures.localization import peak_fraction
from evaluation.report.run_report import write_run_report
from evaluation.tasks.correspondence import validate_avc
from evaluation.tasks.embeddings import embed_batches, gather_clips
from models import build_net
from models.avolnet import AVOLNet
from models.losses import make_avc_step
from models.object_maps import location_maps
from models.pretrained import frozen_encoder, learning_rates, set_up_encoders
from models.size import check_memory
from utils import distributed
from utils.data_start import start_from_data
from utils.engine import Metrics, fit
from utils.errors import exit_on_user_error
from utils.health import diagnose_avc
from utils.kernels import compile_encoders
from utils.precision import autocast
from utils.training import setup_training


def main(argv: list[str] | None = None) -> None:
    """Train AVOL-Net; `argv` is the command line without the script's name, None for that of this process."""
    # Batches of B frames and B seconds of sound; every location of every frame is compared with every sound.
    config, device, data, run, on_skip = setup_training(argv, __doc__, SCRIPT, CONFIG, AVCDataModule)
    run.keep_report(write_run_report)
    train = config.train
    train_transform, val_transform = PairTransform(config, train=True), PairTransform(config, train=False)

    # The net, with AVE-Net's weights or initialized so that it learns (docs/starting_well.md).
    check_memory(config, device, train.batch_size // distributed.world_size())
    torch.manual_seed(train.seed)
    model = build_net(config.model, similarity=train.similarity).to(device)
    assert isinstance(model, AVOLNet)
    if train.learn_temperature:
        model.learn_temperature(train.temperature)
    taken = run.init_from(model)
    set_up_encoders(model, config, taken, run.resumed is not None)
    with autocast(device, train.precision):
        data.use_features(config, frozen_encoder(model, config), run.log_message, on_skip)
    encoders = [model.get_submodule(name) for name in ("vision", "audio")]
    if not run.resumed and (taken or train.data_dependent_init):
        initialize = model.calibrate_logits if taken else model.data_dependent_init
        start_from_data(initialize, data.init_batch(on_skip), val_transform, encoders, device, train)
    compile_encoders(encoders, train)
    # AVE-Net's weights have already learned what the second auxiliary head, AVE-Net's own, teaches.
    aux_heads = 1 if config.model.init_from else 2

    def evaluate(model: AVOLNet) -> Metrics:
        batches = data.val_batches(on_skip)
        weight = config.eval.object_weight
        embeddings = embed_batches(model, batches, val_transform, train.precision, config.eval.flip_tta, weight > 0)
        metrics = validate_avc(model, embeddings, config.eval.group, device, data.splits["val"].folder)
        v, a, indices, times, objects = embeddings
        maps = location_maps(model, v, a, objects, weight) if len(v) else torch.empty(0)
        indices, times, maps = gather_clips(indices, times, maps)
        peaks = peak_fraction(maps.numpy(), data.val_boxes(indices, times))
        return metrics | ({} if peaks is None else {"peak_accuracy": peaks})  # for the log only: it chooses nothing

    best = fit(
        model,
        run,
        param_groups=model.parameter_groups(train.last_layer_lr_mult, train.last_layer_decay, learning_rates(config)),
        batches=lambda start: data.train_batches(start, on_skip),
        steps_per_epoch=data.steps_per_epoch,
        step=make_avc_step(
            train_transform,
            train.negatives,
            train.aux_loss_weight,
            aux_heads,
            kind=train.loss,
            temperature=train.temperature,
            silence=train.silence,
            moments=config.data.moments,
        ),
        evaluate=evaluate,
        best="auc",  # independent of the threshold, which drifts
        diagnose=diagnose_avc,
    )
    run.print_best(f"AUC {best['auc']:.3f}, accuracy {best['accuracy']:.3f} (chance 0.5)")


if __name__ == "__main__":
    with exit_on_user_error(*distributed.TRAINING_MEMORY), distributed.process_group():
        main()
