"""AVE-Net as in the paper: 224 px, 48 kHz, 257 x 200, width 64 (OtS sec. 3). Needs a GPU and AudioSet-Instruments.

The paper trained on 16 GPUs with 128 clips each; `--train.accumulate 16` takes as many clips an update on one GPU.
"""

from configs.schema import Config

config = Config()
