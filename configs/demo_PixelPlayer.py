"""The Sound of Pixels, small: minutes on two cores, for data/demo and for any few thousand clips in the same format.

1.9 s at 8 kHz, 128 x 64. What differs from the paper's beside sizes, and why:

- The frame net has AVE-Net's eight convolutions, which learn sooner from scratch than a ResNet-18.
- Half of the loss is that of an AVE-Net with the same convolutions for pictures, which learns what unmixed sounds go
  with them (train.avc_loss_weight), for the first third of the run alone (train.avc_warmup): without it the masks
  take no notice of the pictures for ten epochs and more, and on harder clips not at all.
- The sound net's last level sees the spectrogram itself: its rows lie as close as the partials of a tone.
- What is loud counts more (mix.weights), and sounds are made by the masks as they are, not cut at a half (mix.mask).
"""

from dataclasses import replace

from configs.demo_AVENet import config as base
from configs.schema import Mix, Model

config = replace(
    base,
    data=replace(base.data, sample_rate=8000),
    augment=replace(base.augment, blend=0.0),  # it would blend in the other picture of a mixture
    mix=Mix(samples=14847, n_fft=510, hop=232, freq_bins=128, mask="soft", weights="linear", frames=1),
    model=Model(
        name="PixelPlayer", vision="convnet", width=32, num_channels=32, sound_width=24, unet_depth=6, detail=True
    ),
    train=replace(
        base.train, run_dir="runs/demo_PixelPlayer", epochs=60, avc_loss_weight=0.5, avc_warmup=0.35, validate_every=6
    ),
)
