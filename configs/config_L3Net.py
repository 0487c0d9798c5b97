"""L3-Net of the paper's comparison (OtS sec. 3.2), with the data and training of config_AVENet.py."""

from dataclasses import replace

from configs import config_AVENet

base = config_AVENet.config
config = replace(
    base,
    model=replace(base.model, name="L3Net"),
    train=replace(base.train, run_dir="runs/L3Net", last_layer_lr_mult=1.0),
)
