"""AVOL-Net at full size (OtS sec. 5), with the data and training of config_AVENet.py; maps of 14 x 14 locations.

It departs from the paper as that config does (paper_VOLNet.py doesn't), but conv7 learns 5 times as fast, not 20.
"""

from dataclasses import replace

from configs import config_AVENet

base = config_AVENet.config
config = replace(
    base,
    model=replace(base.model, name="AVOLNet"),
    train=replace(base.train, run_dir="runs/VOLNet", last_layer_lr_mult=5.0),
)
