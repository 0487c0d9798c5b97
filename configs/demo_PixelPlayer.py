"""The Sound of Pixels, small: trains in minutes on two cores, on data/demo or any few thousand clips in that format.

Sounds of 1.9 s at 8 kHz, spectrograms of 128 x 64. Apart from sizes, it differs from the paper in this:

- The frame net has AVE-Net's eight convolutions, which learn sooner from scratch than a ResNet-18.
- Half of the loss is that of the AVC branch (train.avc_loss_weight), an AVE-Net on the same frame net and the unmixed
  sounds. It trains alone for the first third of the run (train.avc_warmup). Without it the masks ignore the frames for
  ten epochs or more, and on harder clips forever.
- The last level of the sound net sees the spectrogram itself: the rows are as close together as the partials of a tone.
- Loud bins have more weight (mix.weights), and the predicted probabilities are the masks, not cut at 0.5 (mix.mask).
- The sound net starts from PyTorch's weights (model.unet_init), two layers have a bias (model.unet_bias), and the
  last layers start from data (train.data_dependent_init): docs/starting_well.md says why.
- Silence is at 1e-4 before the logarithm (mix.log_floor), frames are squeezed into squares (mix.frame_fit), and sounds
  aren't clipped after their random volume (mix.clip).
"""

from dataclasses import replace

from configs.demo_AVENet import config as base
from configs.schema import Mix, Model

config = replace(
    base,
    data=replace(base.data, sample_rate=8000),
    augment=replace(base.augment, blend=0.0),  # it would blend in the frame of the mixture's other clip
    mix=Mix(
        samples=14847,
        n_fft=510,
        hop=232,
        freq_bins=128,
        log_floor=1e-4,
        mask="soft",
        weights="linear",
        frames=1,
        clip=False,
        frame_fit="squeeze",
    ),
    model=Model(
        name="PixelPlayer",
        vision="convnet",
        width=32,
        num_channels=32,
        sound_width=24,
        unet_depth=6,
        detail=True,
        unet_bias=True,
        unet_init="default",
    ),
    train=replace(
        base.train, run_dir="runs/demo_PixelPlayer", epochs=60, avc_loss_weight=0.5, avc_warmup=0.35, validate_every=6
    ),
)
