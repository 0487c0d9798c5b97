"""Small AVE+OF: frames of 64 px with DIS optical flow, width 16. Clips, sound and training as in demo_AVENet.py."""

from dataclasses import replace

from configs.demo_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, flow="dis", flow_fields=10, frame_size=64, resize_size=72, cache_gb=0),
    model=replace(one_frame.model, name="AVENet_OF", width=16),
    train=replace(one_frame.train, run_dir="runs/demo_AVENet_OF", epochs=20),
)
