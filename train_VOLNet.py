"""Train AVOL-Net to find the object that sounds, by telling which frame and sound belong together.

    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from runs/demo_AVENet/best.pt
    python train_VOLNet.py --config configs/demo_VOLNet.py --model.init_from ""       # from scratch

The paper: Objects that Sound, arXiv 1712.06651, section 5. `--help` lists every setting.
"""

import sys

import torch

from dataset.avc import AVCData
from dataset.transforms import Transform
from models import build
from utils import avc, checkpoint, distributed, localization
from utils.config import parse
from utils.embedding import embed
from utils.engine import fit, pick_device, to_device
from utils.errors import UserError, reported
from utils.log import Run, resume_option
from utils.memory import keep_freed_memory


def main(argv=None):
    args, config, _ = parse(
        argv if argv is not None else sys.argv[1:], __doc__, resume_option, config_file="configs/config_VOLNet.py"
    )
    train, device = config.train, pick_device()
    keep_freed_memory()

    # Batches of B frames and B seconds of sound; every place of every frame is compared with every sound.
    data = AVCData(config, device, distributed.rank(), distributed.ranks())
    run = Run(config, args.resume)
    skipped = run.skip_list(config.data.on_error, data.splits)
    see, see_val = Transform(config, train=True), Transform(config, train=False)

    # The net: from AVE-Net's weights, or from a start at which it learns (docs/starting_well.md).
    torch.manual_seed(train.seed)
    model = build(config.model).to(device)
    if not hasattr(model, "location_logits"):
        raise UserError(f"{config.model.name} has no map of places to train: set --model.name AVOLNet")
    if not run.resumed:
        first = see_val(to_device(data.first(skipped), device))
        if config.model.init_from:
            taken = checkpoint.init_from(model, config.model.init_from)
            run.say(f"{len(taken)} weights taken from {config.model.init_from}")
            model.start_decision(*first)
        elif train.start_from_data:
            model.start_from_data(*first)

    def step(model, batch):
        gather, first = distributed.gatherer(train.gather, batch["sizes"])
        frames, spectrograms = see(batch)  # (B, 3, S, S), (B, 1, F, T)
        # (B, D, h, w), (B, D), (B, B): where the best place decides; two (B, B): where the frame is pooled first
        v, a, logits, *pooled = model.forward_pooled(frames, spectrograms, gather)
        loss, accuracy = avc.avc_loss(logits, train.negatives, first)
        second, third = (avc.avc_loss(answer, train.negatives, first)[0] for answer in pooled)
        # AVE-Net's weights have learned already what the third, its own answer, teaches.
        second = second if config.model.init_from else (second + third) / 2
        loss = (1 - train.pooled) * loss + train.pooled * second
        own = slice(first, first + len(v))
        return loss, {"accuracy": accuracy, **avc.health(model.vectors(v, a[own]), logits[:, own], model.slope())}

    def evaluate(model):
        found = embed(model, data.held_out(skipped), see_val, train.precision, config.eval.mirror)
        metrics = avc.validate(model, found, config.eval.group, device, data.splits["val"].folder)
        v, a, places, times = found
        frames = data.held_out_boxes(places, times)
        seen = [k for k, entries in enumerate(frames) if any(entry["sounding"] for entry in entries)]
        if seen:  # for the log only: boxes choose nothing
            maps = model.location_logits(v[seen].to(device), a[seen].to(device)).cpu()
            maps = localization.upsample(maps, config.data.frame_size)
            metrics |= {"peak_accuracy": localization.box_measures(maps, [frames[k] for k in seen])["peak_accuracy"]}
        return metrics

    result = fit(
        model,
        run,
        groups=model.parameter_groups(train.lr_decision),
        batches=lambda start: data.batches(start, skipped),
        steps_per_epoch=data.steps_per_epoch,
        step=step,
        evaluate=evaluate,
        best="auc",  # doesn't depend on the threshold, which drifts
        diagnose=avc.diagnose,
    )
    if distributed.rank() == 0:
        shown = f"AUC {result['auc']:.3f}, accuracy {result['accuracy']:.3f} (chance 0.5)"
        print(f"best validation AVC: {shown}; {run.best}")
        print(f"next: python eval.py --checkpoint {run.best}")


if __name__ == "__main__":
    with reported(), distributed.joined():
        main()
