"""Train AVE-Net, or another net that embeds frames and sounds, to tell which frame and sound belong together.

    python train_AVENet.py --config configs/demo_AVENet.py

The paper: Objects that Sound, arXiv 1712.06651, section 3. `--help` lists every setting.
"""

import sys

import torch

from dataset.clips import Clips
from dataset.pairs import EpochBatches, Pairs, in_order, loader, readable
from dataset.transforms import Transform
from models import build
from utils import avc, checkpoint
from utils.config import parse
from utils.embedding import embed
from utils.engine import fit, pick_device, to_device
from utils.errors import UserError, reported
from utils.log import Run


def main(argv=None):
    args, config, _ = parse(
        argv if argv is not None else sys.argv[1:],
        __doc__,
        lambda parser: parser.add_argument("--resume", action="store_true", help="go on with the run in train.run_dir"),
        config_file="configs/config_AVENet.py",
    )
    data, train = config.data, config.train
    device = pick_device()

    # Clips, and batches of them: B frames and B seconds of sound; mismatches come from the batch.
    splits = {split: Clips(data.root, split, data.on_error) for split in ("train", "val")}
    instant = (data.stored_size, data.sample_rate, data.frame_step)
    pairs = Pairs(splits["train"], *instant, data.misalignment, train.seed, data.cache_gb)
    held_out = Pairs(splits["val"], *instant, cache_gb=data.cache_gb / 4)  # one fixed instant per clip
    order = EpochBatches(len(pairs), train.batch_size, train.seed, multiple=train.accumulate)
    if not order.per_epoch:
        raise UserError(
            f"{data.root} has {len(pairs)} training clips, fewer than a batch: lower --train.batch_size "
            f"({train.batch_size}) or --train.accumulate ({train.accumulate})"
        )

    run = Run(config, args.resume)
    skipped = run.skip_list(data.on_error, splits)
    val_batches = loader(held_out, in_order(len(held_out), config.eval.batch_size), min(train.workers, 1), device)

    def batches(start):
        return readable(loader(pairs, order.starting_at(start), train.workers, device), skipped, smallest=2)

    # The net, and a start from which it learns (docs/starting_well.md).
    torch.manual_seed(train.seed)
    model = build(config.model).to(device)
    see, see_val = Transform(config, train=True), Transform(config, train=False)
    if config.model.init_from and not run.resumed:
        run.say(
            f"{len(checkpoint.init_from(model, config.model.init_from))} weights taken from {config.model.init_from}"
        )
    elif train.start_from_data and not run.resumed:
        first = EpochBatches(len(pairs), min(128, len(pairs)), train.seed)
        first = next(readable(loader(pairs, first, 0), skipped, smallest=2))
        model.start_from_data(*see_val(to_device(first, device)))

    def step(model, batch):
        frames, spectrograms = see(batch)  # (B, 3, S, S), (B, 1, F, T)
        v, a, logits = model(frames, spectrograms)  # (B, D), (B, D), (B, B)
        loss, accuracy = avc.avc_loss(logits, train.negatives)
        return loss, {"accuracy": accuracy, **avc.health(v, a, model.slope())}

    def evaluate(model):
        found = embed(model, readable(val_batches, skipped, smallest=0), see_val, train.precision)
        if not found or len(found[0]) < 2:
            raise UserError(f"{splits['val'].folder} has fewer than 2 readable clips: validation needs mismatches")
        v, a, _, _ = found
        matches, mismatches = avc.score_groups(model.pair_logits, v.to(device), a.to(device), config.eval.group)
        return avc.measure(matches, mismatches, avc.calibrate(matches, mismatches))

    result = fit(
        model,
        run,
        groups=model.parameter_groups(train.lr_fc3),
        batches=batches,
        steps_per_epoch=order.per_epoch // train.accumulate,
        step=step,
        evaluate=evaluate,
        best="auc",  # doesn't depend on the threshold, which drifts
        diagnose=avc.diagnose,
    )
    print(f"best validation AVC: AUC {result['auc']:.3f}, accuracy {result['accuracy']:.3f} (chance 0.5); {run.best}")
    print(f"next: python eval.py --checkpoint {run.best}")


if __name__ == "__main__":
    with reported():
        main()
