"""Small AVE-Net: trains in minutes on two cores, on data/demo or any few thousand clips in the same format.

The paper's net at width 32, on frames of 112 px and spectrograms of 64 mel bands x 50 windows. Strong augmentation,
which grows over the run, keeps the net from overfitting to few clips. Muon needs half as many steps as Adam.
"""

from configs.schema import Augment, Config, Data, Eval, Model, Spectrogram, Train

config = Config(
    data=Data(
        root="data/demo",
        frame_size=112,
        resize_size=128,
        frame_step=0.2,
        sample_rate=16000,
        misalignment=1.0,
        cache_gb=4,
    ),
    # Enough to distinguish instruments, at a sixteenth of the computation of 257 x 200.
    spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=512, n_mels=64, equal_loudness=True),
    augment=Augment(
        crop_min=0.6,
        crop_max=1.25,
        rotation=25,
        stretch=0.3,
        brightness=0.5,
        contrast=0.6,
        saturation=0.8,
        channel_gain=0.25,
        hue=0.3,
        grey=0.3,
        erase=0.3,
        blend=0.25,
        mix=0.3,
        gain=0.0,  # equal loudness would undo it
        tilt=20,
        noise=0.05,
        pitch=0.1,
        freq_mask=0.2,
        time_mask=0.2,
        ramp=0.9,
    ),
    model=Model(name="AVENet", width=32),
    train=Train(
        run_dir="runs/demo_AVENet",
        epochs=30,
        batch_size=32,
        lr=2e-3,
        optimizer="muon",
        schedule="cosine",
        warmup=0.05,
        ema=0.998,
        workers=2,
        validate_every=3,
    ),
    eval=Eval(flip_tta=True),
)
