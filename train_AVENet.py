"""Train AVE-Net, or another net that embeds frames and sounds, to tell which frame and sound belong together.

    python train_AVENet.py --config configs/demo_AVENet.py
    torchrun --nproc-per-node 8 train_AVENet.py --config configs/config_AVENet.py --data.root ROOT

The paper: Objects that Sound, arXiv 1712.06651, section 3. `--help` lists every setting.
"""

import sys

import torch

from dataset.avc import AVCData
from dataset.transforms import Transform
from models import build
from utils import avc, checkpoint, distributed
from utils.config import parse
from utils.embedding import embed
from utils.engine import fit, pick_device, to_device
from utils.errors import UserError, reported
from utils.log import Run, resume_option
from utils.memory import keep_freed_memory


def main(argv=None):
    args, config, _ = parse(
        argv if argv is not None else sys.argv[1:], __doc__, resume_option, config_file="configs/config_AVENet.py"
    )
    train, device = config.train, pick_device()
    keep_freed_memory()

    # Batches of B frames and B seconds of sound; mismatches come from the batch.
    data = AVCData(config, device, distributed.rank(), distributed.ranks())
    run = Run(config, args.resume)
    skipped = run.skip_list(config.data.on_error, data.splits)
    see, see_val = Transform(config, train=True), Transform(config, train=False)

    # The net, and a start from which it learns (docs/starting_well.md).
    torch.manual_seed(train.seed)
    model = build(config.model, config.data.flow_fields).to(device)
    if not hasattr(model, "embed_sounds"):
        raise UserError(f"{config.model.name} learns from mixtures: train it by train_PixelPlayer.py")
    if config.model.init_from and not run.resumed:
        taken = checkpoint.init_from(model, config.model.init_from)
        run.say(f"{len(taken)} weights taken from {config.model.init_from}")
    elif train.start_from_data and not run.resumed:
        model.start_from_data(*see_val(to_device(data.first(skipped), device)))

    def step(model, batch):
        gather, first = distributed.gatherer(train.gather, batch["sizes"])
        frames, spectrograms = see(batch)  # (B, 3, S, S) or what the net asks for, (B, 1, F, T)
        v, a, logits = model(frames, spectrograms, gather)  # (B, D), (B, D), (B, B)
        loss, accuracy = avc.avc_loss(logits, train.negatives, first)
        own = slice(first, first + len(v))
        return loss, {"accuracy": accuracy, **avc.health(model.vectors(v, a[own]), logits[:, own], model.slope())}

    def evaluate(model):
        found = embed(model, data.held_out(skipped), see_val, train.precision, config.eval.mirror)
        return avc.validate(model, found, config.eval.group, device, data.splits["val"].folder)

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
