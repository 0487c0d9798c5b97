"""Validate the settings of a `Config`: their ranges, and settings that depend on each other."""

from configs.schema import Augment, Config, Data, Eval, Mix, Model, Spectrogram, Train

Rule = tuple[bool, str]  # whether it holds, and the error message if not


def config_errors(config: Config) -> list[str]:
    """List what is wrong with a config: one sentence for each mistake, which names its setting.

    Args:
        config: the settings, with values of the right types.

    Returns:
        Error messages, empty if the config is valid.
    """
    data, model = config.data, config.model
    rules = [
        *_data_rules(data, model),
        *_spectrogram_rules(config.spectrogram, data),
        *_augment_rules(config.augment),
        *_mix_rules(config.mix, model),
        *_model_rules(model),
        *_train_rules(config.train),
        *_eval_rules(config.eval),
    ]
    return [message for holds, message in rules if not holds]


def _data_rules(data: Data, model: Model) -> list[Rule]:
    return [
        (data.frame_size >= 32, "data.frame_size must be at least 32 pixels"),
        (data.resize_size >= data.frame_size, "data.resize_size must not be smaller than data.frame_size"),
        (data.frame_step > 0, "data.frame_step must be above 0 seconds"),
        (data.sample_rate >= 1000, "data.sample_rate must be at least 1000 Hz"),
        (data.misalignment >= 0, "data.misalignment must not be negative"),
        (data.cache_gb >= 0, "data.cache_gb must not be negative"),
        (data.samples_per_decode >= 1, "data.samples_per_decode must be at least 1"),
        (
            model.name != "AVENet_MF" or data.frames >= 8,
            "data.frames must be at least 8: the pools of AVENet_MF halve the number of frames three times",
        ),
        (
            model.name != "AVENet_OF" or data.flow != "none",
            "data.flow must be tvl1, dis or farneback: AVENet_OF needs optical flow",
        ),
        (data.flow_fields >= 1, "data.flow_fields must be at least 1"),
        (
            data.cache_gb == 0 or model.name not in ("AVENet_MF", "AVENet_OF"),
            f"data.cache_gb must be 0 for {model.name}: the cache keeps single frames",
        ),
    ]


def _spectrogram_rules(spec: Spectrogram, data: Data) -> list[Rule]:
    return [
        (0 < spec.hop <= spec.window <= 0.5, "spectrogram.window and .hop need 0 < hop <= window <= 0.5 seconds"),
        (
            spec.window * data.sample_rate <= spec.n_fft,
            f"spectrogram.n_fft must hold the window: at least {round(spec.window * data.sample_rate)} samples",
        ),
        (
            round(spec.hop * data.sample_rate) >= 1 and spec.hop <= 1 / 16 and spec.n_fft >= 32,
            "spectrogram.hop must lie between one sample and 1 / 16 second, and .n_fft be at least 32: the nets halve "
            "rows and columns four times",
        ),
        (spec.n_mels == 0 or spec.n_mels >= 16, "spectrogram.n_mels must be 0 or at least 16"),
    ]


def _augment_rules(augment: Augment) -> list[Rule]:
    below_1 = ["brightness", "saturation", "contrast", "channel_gain", "hue", "stretch", "grey", "erase", "blend"]
    below_1 += ["gain", "mix"]
    return [
        (0 < augment.crop_min <= augment.crop_max <= 2, "augment.crop_min and .crop_max need 0 < min <= max <= 2"),
        *((0 <= getattr(augment, name) < 1, f"augment.{name} must be at least 0 and below 1") for name in below_1),
        *(
            (0 <= getattr(augment, name) <= 0.5, f"augment.{name} must lie in 0..0.5")
            for name in ("pitch", "freq_mask", "time_mask")
        ),
        *(
            (getattr(augment, name) >= 0, f"augment.{name} must not be negative")
            for name in ("rotation", "tilt", "noise")
        ),
        (0 <= augment.ramp <= 1, "augment.ramp must lie in 0..1"),
    ]


def _mix_rules(mix: Mix, model: Model) -> list[Rule]:
    rows, columns = mix.freq_bins or mix.n_fft // 2 + 1, mix.samples // max(mix.hop, 1) + 1
    factor = 2 ** max(model.unet_depth, 1)
    return [
        (mix.sources >= 2, "mix.sources must be at least 2"),
        (mix.n_fft >= 16 and mix.n_fft % 2 == 0, "mix.n_fft must be even and at least 16"),
        (1 <= mix.hop <= mix.n_fft // 2, "mix.hop must lie in 1..mix.n_fft / 2: the transform must be invertible"),
        (mix.samples > mix.n_fft, "mix.samples must be more than mix.n_fft"),
        (mix.freq_bins >= 0, "mix.freq_bins must not be negative"),
        (mix.frames >= 1 and mix.frame_stride > 0, "mix.frames must be at least 1, mix.frame_stride above 0 seconds"),
        (0 <= mix.volume < 1, "mix.volume must be at least 0 and below 1"),
        (mix.repeats >= 1, "mix.repeats must be at least 1"),
        (
            rows % factor == 0 and columns % factor == 0,
            f"mix.freq_bins ({rows} rows) and mix.samples // mix.hop + 1 ({columns} columns) must be multiples of "
            f"{factor}: the sound net halves both model.unet_depth ({model.unet_depth}) times",
        ),
    ]


def _model_rules(model: Model) -> list[Rule]:
    return [
        (model.width >= 1 and model.dim >= 1, "model.width and model.dim must be at least 1"),
        (model.logit_scale > 0, "model.logit_scale must be above 0: a small distance means a match"),
        (0 <= model.dropout < 1, "model.dropout must be at least 0 and below 1"),
        (
            model.num_channels >= 1 and model.sound_width >= 1,
            "model.num_channels and model.sound_width must be at least 1",
        ),
        (model.unet_depth >= 2, "model.unet_depth must be at least 2"),
        (
            model.vision in ("auto", "resnet18") or not model.vision_weights,
            f"model.vision_weights must be empty with model.vision {model.vision}: only resnet18 has any",
        ),
    ]


def _train_rules(train: Train) -> list[Rule]:
    return [
        (train.epochs >= 1, "train.epochs must be at least 1"),
        (train.max_minutes >= 0, "train.max_minutes must not be negative"),
        (train.batch_size >= 2, "train.batch_size must be at least 2: negative pairs come from the batch"),
        (train.grad_accum_steps >= 1, "train.grad_accum_steps must be at least 1"),
        (
            train.gather == "rank" or train.negatives != "off_grid",
            "train.gather must be rank with train.negatives off_grid",
        ),
        *(
            (getattr(train, name) > 0, f"train.{name} must be above 0")
            for name in ("lr", "last_layer_lr_mult", "lr_vision", "lr_muon")
        ),
        *(
            (0 <= getattr(train, name) < 1, f"train.{name} must be at least 0 and below 1")
            for name in ("momentum", "avc_warmup", "warmup", "ema")
        ),
        *(
            (0 <= getattr(train, name) <= 1, f"train.{name} must lie in 0..1")
            for name in ("aux_loss_weight", "avc_loss_weight")
        ),
        (not train.avc_warmup or train.avc_loss_weight > 0, "train.avc_warmup needs train.avc_loss_weight above 0"),
        (train.weight_decay >= 0, "train.weight_decay must not be negative"),
        (0 <= train.seed < 2**32, "train.seed must lie in 0..2^32 - 1"),
        (train.workers >= 0, "train.workers must not be negative"),
        (train.validate_every >= 1, "train.validate_every must be at least 1"),
        (train.save_every >= 1 and train.log_every >= 1, "train.save_every and .log_every must be at least 1"),
    ]


def _eval_rules(settings: Eval) -> list[Rule]:
    return [
        (settings.batch_size >= 1 and settings.k >= 1, "eval.batch_size and eval.k must be at least 1"),
        (settings.queries >= 0, "eval.queries must not be negative"),
        (settings.group >= 2, "eval.group must be at least 2"),
    ]
