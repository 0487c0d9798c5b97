"""Small L3-Net, with the data, augmentation and training of demo_AVENet.py."""

from dataclasses import replace

from configs import demo_AVENet

base = demo_AVENet.config
config = replace(
    base,
    model=replace(base.model, name="L3Net"),
    train=replace(base.train, run_dir="runs/demo_L3Net", last_layer_lr_mult=1.0),
)
