"""The Sound of Pixels for a hundred to five thousand clips, on a laptop or one GPU: ten minutes, features included.

Frames go through a frozen EfficientNet-Lite0, whose features are computed once. An AVC branch learns alone at first, by
InfoNCE, which sound belongs to which frame, in thousands of cheap steps. The masks depend on its embedding of the frame
alone. The sound net is that of demo_PixelPlayer.py, with half of the rows and fewer channels: more steps are worth more
than detail. In evaluation each bin is divided among the sources by a softmax. docs/separation.md has measured numbers.
"""

from dataclasses import replace

from configs import demo_PixelPlayer, few_clips_AVENet
from configs.schema import Data

base, demo = few_clips_AVENet.config, demo_PixelPlayer.config
config = replace(
    base,
    data=replace(
        base.data,
        seconds=Data.seconds,  # these two are of AVE-Net alone
        misalignment=Data.misalignment,
        sample_rate=8000,
        feature_views=4,
        feature_frames=2,
    ),
    mix=replace(demo.mix, freq_bins=64, volume=0.7, speed=0.25, tilt=6.0),
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
        lr_vision=0.0,
        tuned_stages=0,
        max_minutes=7.0,
        batch_size=32,
        lr=1e-3,
        data_dependent_init=True,
        avc_loss_weight=0.5,
        avc_warmup=0.15,
        validate_every=40,
    ),
    eval=replace(base.eval, softmax_masks=True),
)
