"""AVE-Net at full size: 224 px, 48 kHz, 257 x 200, width 64 (OtS sec. 3). Needs GPUs and AudioSet-Instruments.

Net, data, augmentation, Adam and its schedule are the paper's. Four things are not; each helps a net to leave chance
(docs/departures.md), and paper_AVENet.py is without them:

- all negative pairs of the batch, not one for each positive (train.negatives);
- the last layers are scaled on some clips before the first step (train.data_dependent_init);
- fc3 starts steep, logit = 12 (1.2 - distance) (model.logit_scale);
- fc3 learns 20 times as fast, without weight decay (train.last_layer_lr_mult, train.last_layer_decay).

An update takes 2,048 clips, 128 on each of 16 GPUs, as in the paper:

    torchrun --nproc-per-node 16 train_AVENet.py --config configs/config_AVENet.py --data.root ROOT

With fewer GPUs, accumulate gradients: `--train.batch_size 1024 --train.grad_accum_steps 2` on 8 GPUs,
`--train.batch_size 128 --train.grad_accum_steps 16` on one. Negative pairs still come from 128 clips.
"""

from configs.schema import Config, Train

config = Config(train=Train(batch_size=2048))
