"""The Sound of Pixels as in the paper and its public code (SoP sec. 3, 4): 6 s at 11,025 Hz, 256 x 256, binary masks.

Batches of 80 clips on 4 GPUs, each clip in two mixtures; an epoch is 100 passes over the training clips:

    torchrun --nproc-per-node 4 train_PixelPlayer.py --config configs/config_PixelPlayer.py --data.root ROOT

The frame net starts from ImageNet weights, which torchvision downloads (45 MB). Give `--model.vision_weights FILE` on a
machine without network access, `--model.vision_weights none` to train from scratch. docs/separation.md lists what
differs from the public code all the same, and the settings that we would choose instead.
"""

from configs.schema import Augment, Config, Data, Mix, Model, Train

config = Config(
    data=Data(root="data/MUSIC", sample_rate=11025, frame_size=224, resize_size=246, frame_step=0.125),
    # Crops of 224 from frames whose shorter side is 1.1 x 224 pixels, half of them flipped.
    augment=Augment(crop_min=224 / 246, crop_max=224 / 246, brightness=0.0, saturation=0.0, gain=0.0),
    mix=Mix(repeats=100),
    model=Model(name="PixelPlayer", vision="resnet18", vision_weights="imagenet"),
    train=Train(
        run_dir="runs/PixelPlayer",
        epochs=100,
        batch_size=80,
        lr=1e-3,
        lr_vision=0.1,
        freeze_norm=False,
        optimizer="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        schedule="multistep",
        data_dependent_init=False,
        precision="fp32",
    ),
)
