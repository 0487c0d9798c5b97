"""Train AVE-Net, or another net that embeds frames and sounds, to tell which frame and sound belong together.

    python train_AVENet.py --config configs/demo_AVENet.py
    torchrun --nproc-per-node 8 train_AVENet.py --config configs/config_AVENet.py --data.root ROOT

The paper: Objects that Sound, arXiv 1712.06651, section 3. `--help` lists every setting.
"""

import torch

from dataset.data_module import AVCDataModule
from dataset.transforms.frames import PairTransform
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
        argv, __doc__, add_resume_option, config_file="configs/config_AVENet.py", script="train_AVENet.py"
    )
    train, device = config.train, pick_device()
    disable_malloc_trim()

    # Batches of B frames and B seconds of sound; mismatches come from the batch.
    data = AVCDataModule(config, device, distributed.rank(), distributed.world_size())
    run = Run(config, args.resume)
    skipped = run.skip_handler(config.data.on_error, data.splits)
    see, see_val = PairTransform(config, train=True), PairTransform(config, train=False)

    # The net, and a start from which it learns (docs/starting_well.md).
    torch.manual_seed(train.seed)
    model = build_net(config.model, config.data.flow_fields).to(device)
    if config.model.init_from and not run.resumed:
        taken = checkpoint.init_from(model, config.model.init_from)
        run.log_message(f"{len(taken)} weights taken from {config.model.init_from}")
    elif train.data_dependent_init and not run.resumed:
        model.data_dependent_init(*see_val(to_device(data.init_batch(skipped), device)))

    def step(model, batch):
        gather, first = distributed.make_gather(train.gather, batch["sizes"])
        frames, spectrograms = see(batch)  # (B, 3, S, S) or what the net asks for, (B, 1, F, T)
        v, a, logits = model(frames, spectrograms, gather)  # (B, D), (B, D), (B, B)
        loss, accuracy = losses.avc_loss(logits, train.negatives, first)
        own = slice(first, first + len(v))
        return loss, {
            "accuracy": accuracy,
            **health.health_metrics(model.vectors(v, a[own]), logits[:, own], model.logit_scale()),
        }

    def evaluate(model):
        found = embed_batches(model, data.val_batches(skipped), see_val, train.precision, config.eval.flip_tta)
        return correspondence.validate_avc(model, found, config.eval.group, device, data.splits["val"].folder)

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
