"""Train AVOL-Net to find the object that sounds, by telling which frame and sound belong together.

    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from runs/demo_AVENet/best.pt
    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from ""       # from scratch

The paper: Objects that Sound, arXiv 1712.06651, section 5. `--help` lists every setting.
"""

import torch

from dataset.data_module import AVCDataModule
from dataset.transforms.frames import PairTransform
from evaluation.measures import localization
from evaluation.tasks import correspondence
from evaluation.tasks.embeddings import embed_batches
from models import build_net, losses
from utils import checkpoint, distributed, health
from utils.command_line import parse_train_command
from utils.engine import fit, pick_device, to_device
from utils.errors import exit_on_user_error
from utils.memory import disable_malloc_trim
from utils.run import Run, add_resume_option


def main(argv=None):
    args, config = parse_train_command(
        argv, __doc__, add_resume_option, config_file="configs/config_VOLNet.py", script="train_VOLNet.py"
    )
    train, device = config.train, pick_device()
    disable_malloc_trim()

    # Batches of B frames and B seconds of sound; every place of every frame is compared with every sound.
    data = AVCDataModule(config, device, distributed.rank(), distributed.world_size())
    run = Run(config, args.resume)
    skipped = run.skip_handler(config.data.on_error, data.splits)
    see, see_val = PairTransform(config, train=True), PairTransform(config, train=False)

    # The net: from AVE-Net's weights, or from a start at which it learns (docs/starting_well.md).
    torch.manual_seed(train.seed)
    model = build_net(config.model).to(device)
    if not run.resumed:
        first = see_val(to_device(data.init_batch(skipped), device))
        if config.model.init_from:
            taken = checkpoint.init_from(model, config.model.init_from)
            run.log_message(f"{len(taken)} weights taken from {config.model.init_from}")
            model.calibrate_logits(*first)
        elif train.data_dependent_init:
            model.data_dependent_init(*first)

    def step(model, batch):
        gather, first = distributed.make_gather(train.gather, batch["sizes"])
        frames, spectrograms = see(batch)  # (B, 3, S, S), (B, 1, F, T)
        # (B, D, h, w), (B, D), (B, B): where the best place decides; two (B, B): where the frame is pooled first
        v, a, logits, *pooled = model.forward_with_aux(frames, spectrograms, gather)
        loss, accuracy = losses.avc_loss(logits, train.negatives, first)
        second, third = (losses.avc_loss(answer, train.negatives, first)[0] for answer in pooled)
        # AVE-Net's weights have learned already what the third, its own answer, teaches.
        second = second if config.model.init_from else (second + third) / 2
        loss = (1 - train.aux_loss_weight) * loss + train.aux_loss_weight * second
        own = slice(first, first + len(v))
        return loss, {
            "accuracy": accuracy,
            **health.health_metrics(model.vectors(v, a[own]), logits[:, own], model.logit_scale()),
        }

    def evaluate(model):
        found = embed_batches(model, data.val_batches(skipped), see_val, train.precision, config.eval.flip_tta)
        metrics = correspondence.validate_avc(model, found, config.eval.group, device, data.splits["val"].folder)
        v, a, places, times = found
        frames = data.val_boxes(places, times)
        seen = [k for k, entries in enumerate(frames) if any(entry["sounding"] for entry in entries)]
        if seen:  # for the log only: boxes choose nothing
            maps = model.location_logits(v[seen].to(device), a[seen].to(device)).cpu()
            maps = localization.upsample(maps, config.data.frame_size)
            metrics |= {"peak_accuracy": localization.box_measures(maps, [frames[k] for k in seen])["peak_accuracy"]}
        return metrics

    result = fit(
        model,
        run,
        groups=model.parameter_groups(train.last_layer_lr_mult),
        batches=lambda start: data.train_batches(start, skipped),
        steps_per_epoch=data.steps_per_epoch,
        step=step,
        evaluate=evaluate,
        best="auc",  # doesn't depend on the threshold, which drifts
        diagnose=health.diagnose_avc,
    )
    if distributed.rank() == 0:
        shown = f"AUC {result['auc']:.3f}, accuracy {result['accuracy']:.3f} (chance 0.5)"
        print(f"best validation AVC: {shown}; {run.best}")
        print(f"next: python eval.py --checkpoint {run.best}")


if __name__ == "__main__":
    with exit_on_user_error(), distributed.process_group():
        main()
