"""AVE+MF of the paper's table 1: AVE-Net with 3-D convolutions on 25 frames. Otherwise as config_AVENet.py.

It takes 25 times the memory for frames. Batches of 16 clips are our choice, as the paper doesn't state their size.
"""

from dataclasses import replace

from configs.config_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, frames=25),
    model=replace(one_frame.model, name="AVENet_MF"),
    train=replace(one_frame.train, run_dir="runs/AVENet_MF", batch_size=16),
)
