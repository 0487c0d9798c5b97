"""Small AVOL-Net, with the data, augmentation and training of demo_AVENet.py.

It trains from scratch, or from AVE-Net's weights with `--model.init_from runs/demo_AVENet/best.pt`.
"""

from dataclasses import replace

from configs import demo_AVENet

base = demo_AVENet.config
config = replace(
    base,
    model=replace(base.model, name="AVOLNet"),
    train=replace(
        base.train, run_dir="runs/demo_VOLNet", optimizer="auto", last_layer_lr_mult=5.0, aux_loss_weight=0.5
    ),
)
