"""The Sound of Pixels for a hundred to five thousand clips, on a laptop or one GPU: ten minutes of training.

As in few_clips_AVENet.py, frames go through a frozen EfficientNet-Lite0, whose features are computed once. An AVC
branch learns alone at first, by InfoNCE, what sounds like which frame; the masks are conditioned on its embedding of
the frame. The sound net is that of demo_PixelPlayer.py, narrower. docs/separation.md has measured numbers.
"""

from dataclasses import replace

from configs import demo_PixelPlayer, few_clips_AVENet

base, demo = few_clips_AVENet.config, demo_PixelPlayer.config
config = replace(
    base,
    data=replace(base.data, seconds=1.0, misalignment=1.0, sample_rate=8000, feature_views=4, feature_frames=2),
    mix=replace(demo.mix, volume=0.7),
    model=replace(
        demo.model,
        width=16,
        dropout=0.3,
        vision="efficientnet_lite0",
        vision_weights="imagenet",
        vision_pool="local",
        features_from="embedding",
        num_channels=16,
        sound_width=16,
    ),
    train=replace(
        base.train,
        run_dir="runs/few_clips_PixelPlayer",
        epochs=90,
        batch_size=32,
        lr=1e-3,
        avc_loss_weight=0.5,
        avc_warmup=0.25,
        validate_every=10,
    ),
)
