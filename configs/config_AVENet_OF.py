"""AVE+OF of the paper's table 1: AVE-Net on a frame and 10 TV-L1 flow fields. Otherwise as config_AVENet.py.

The first epoch computes the flow and keeps it: the whole clip's at its first visit.
"""

from dataclasses import replace

from configs.config_AVENet import config as one_frame

config = replace(
    one_frame,
    data=replace(one_frame.data, flow="tvl1", flow_fields=10),
    model=replace(one_frame.model, name="AVENet_OF"),
    train=replace(one_frame.train, run_dir="runs/AVENet_OF"),
)
