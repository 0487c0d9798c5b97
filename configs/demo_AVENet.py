"""AVE-Net, small: minutes on two cores, for data/demo and for any few thousand clips in the same format.

The same net as the paper's at width 24, on 112 px and 64 mel bands of 50 windows. Much augmentation, growing over the
run: with few clips a net otherwise learns them by heart.
"""

from configs.schema import Augment, Config, Data, Eval, Model, Spectrogram, Train

config = Config(
    data=Data(
        root="data/demo",
        frame_size=112,
        stored_size=128,
        frame_step=0.2,
        sample_rate=16000,
        misalignment=1.0,
        cache_gb=4,
    ),
    # What tells instruments apart, at a sixteenth of the work of 257 x 200.
    spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=512, mel_bands=64, equal_loudness=True),
    augment=Augment(
        crop_min=0.65,
        crop_max=1.0,
        rotation=20,
        stretch=0.3,
        brightness=0.3,
        contrast=0.4,
        saturation=0.5,
        channel_gain=0.25,
        grey=0.2,
        erase=0.3,
        blend=0.25,
        mix=0.3,
        gain=0.0,  # equal loudness would undo it
        tilt=20,
        noise=0.05,
        pitch=0.1,
        mask_bands=0.2,
        mask_times=0.2,
        ramp=0.9,
    ),
    model=Model(name="AVENet", width=24),
    train=Train(
        run_dir="runs/demo_AVENet",
        epochs=52,
        batch_size=32,
        lr=2e-3,
        schedule="cosine",
        warmup=0.05,
        ema=0.998,
        workers=2,
        validate_every=4,
    ),
    eval=Eval(),
)
