"""AVE+OF of the paper's table 1: AVE-Net on a frame and 10 TV-L1 flow fields. Otherwise as config_AVENet.py.

The first epoch computes the optical flow of each clip and stores it on disk. A clip of 10 s at 256 px takes a minute
of one core with TV-L1, a second with `--data.flow dis`, and up to 33 MB on disk before compression.
"""

from dataclasses import replace

from configs.config_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, flow="tvl1", flow_fields=10),
    model=replace(one_frame.model, name="AVENet_OF"),
    train=replace(one_frame.train, run_dir="runs/AVENet_OF"),
)
