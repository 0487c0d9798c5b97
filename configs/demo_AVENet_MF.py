"""Small AVE+MF: 9 frames of 64 px, width 12. Clips, sound and training as in demo_AVENet.py."""

from dataclasses import replace

from configs.demo_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, frames=9, frame_size=64, resize_size=72, cache_gb=0),
    model=replace(one_frame.model, name="AVENet_MF", width=12),
    train=replace(one_frame.train, run_dir="runs/demo_AVENet_MF", epochs=20),
)
