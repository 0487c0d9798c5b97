"""AVE-Net for a hundred to five thousand clips, on a laptop or one GPU: minutes of training.

What few clips can't teach, what things look like, comes from an EfficientNet-Lite0 with ImageNet's weights. Its first
five stages are frozen, and their features are computed once; its last two are fine-tuned. A small sound net and the
embedding are learned, by InfoNCE. docs/few_clips.md says what to expect.
"""

from dataclasses import replace

from configs import demo_AVENet
from configs.schema import Config, Model, Spectrogram, Train

base = demo_AVENet.config
config = Config(
    data=replace(
        base.data, seconds=1.8, frame_size=224, resize_size=256, cache_gb=0.0, feature_views=6, feature_frames=2
    ),
    spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=512, n_mels=64, equal_loudness=True),
    # Frames are augmented when their features are computed: mildly, as the encoder can't adapt.
    augment=replace(
        base.augment, crop_max=1.1, rotation=10, stretch=0.15, brightness=0.3, contrast=0.3, saturation=0.4,
        channel_gain=0.0, hue=0.05, grey=0.0, erase=0.0, blend=0.0,
    ),
    model=Model(
        name="AVENet",
        width=16,
        dropout=0.3,
        vision="efficientnet_lite0",
        vision_weights="imagenet",
    ),
    train=Train(
        run_dir="runs/few_clips_AVENet",
        epochs=40,
        batch_size=64,
        lr=2e-3,
        lr_vision=0.05,
        tuned_stages=2,
        loss="infonce",
        temperature=0.25,
        optimizer="muon",
        schedule="cosine",
        warmup=0.05,
        ema=0.99,
        data_dependent_init=False,  # it makes no difference here (docs/few_clips.md)
        workers=2,
        validate_every=5,
    ),
    eval=base.eval,
)  # fmt: skip
