"""AVE-Net, small: minutes on two cores, for data/demo and for any few thousand clips in the same format."""

from configs.schema import Augment, Config, Data, Eval, Model, Spectrogram, Train

config = Config(
    data=Data(
        root="data/demo", frame_size=112, stored_size=128, frame_step=0.2, sample_rate=16000, misalignment=0.3, cache_gb=4
    ),
    # 64 mel bands of 50 windows: what tells instruments apart, at an eighth of the work of 257 x 200.
    spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=512, mel_bands=64, equal_loudness=True),
    augment=Augment(
        crop_min=0.7, crop_max=1.0, brightness=0.3, saturation=0.4, gain=0.1, rotation=10, stretch=0.2, contrast=0.3,
        channel_gain=0.15, grey=0.1, erase=0.25, tilt=6, noise=0.02, pitch=0.05, mask_bands=0.15, mask_times=0.15,
    ),
    model=Model(name="AVENet", width=24),
    train=Train(
        run_dir="runs/demo_AVENet", epochs=60, batch_size=32, lr=2e-3, schedule="cosine", warmup=0.05, ema=0.998,
        workers=2, validate_every=4,
    ),
    eval=Eval(),
)  # fmt: skip
