"""AVOL-Net exactly as the paper says (OtS sec. 5), trained as paper_AVENet.py says: to measure against."""

from dataclasses import replace

from configs import paper_AVENet
from configs.schema import Model

base = paper_AVENet.config
config = replace(base, model=Model(name="AVOLNet"), train=replace(base.train, run_dir="runs/paper_VOLNet"))
