"""The Sound of Pixels, small: minutes on two cores, for data/demo and for any few thousand clips in the same format."""

from dataclasses import replace

from configs.demo_AVENet import config as base
from configs.schema import Mix, Model

config = replace(
    base,
    data=replace(base.data, sample_rate=11025),
    augment=replace(base.augment, blend=0.0),  # the next clip's frame is the other one of a mixture
    mix=Mix(samples=20479, n_fft=1022, hop=320, rows=128, frames=1, frame_stride=0.5),
    model=Model(name="PixelPlayer", width=16, maps=16, sound_width=16, levels=6),
    train=replace(base.train, run_dir="runs/demo_PixelPlayer", epochs=30),
)
