"""AVE+MF of the paper's table 1: AVE-Net on 25 frames, 3-D convolutions. Otherwise as config_AVENet.py.

25 times the pictures and the memory: 16 clips a batch are ours, the paper doesn't say how many it took here.
"""

from dataclasses import replace

from configs.config_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, frames=25),
    model=replace(one_frame.model, name="AVENet_MF"),
    train=replace(one_frame.train, run_dir="runs/AVENet_MF", batch_size=16),
)
