"""AVOL-Net for a hundred to five thousand clips, with the data, encoder and training of few_clips_AVENet.py.

All stages of the encoder are frozen: fine-tuned ones make its maps no better (docs/few_clips.md). The score of a pair
is the largest cosine over locations, mixed with their mean, and maps are guided by what the encoder finds striking. It
trains from scratch; AVE-Net's weights are not needed.
"""

from dataclasses import replace

from configs import few_clips_AVENet

base = few_clips_AVENet.config
config = replace(
    base,
    model=replace(base.model, name="AVOLNet", mean_weight=0.3),
    train=replace(
        base.train,
        run_dir="runs/few_clips_VOLNet",
        lr_vision=0.0,
        tuned_stages=0,
        loss="max_infonce",
        temperature=0.2,
    ),
    eval=replace(base.eval, object_weight=0.5),
)
