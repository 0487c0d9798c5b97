"""Validate the settings of a `Config`: the limits of each number, and settings that depend on each other."""

from dataclasses import fields

from configs.feature_rules import Rule, feature_rules
from configs.schema import Config, Data, Mix, Model, Spectrogram, Train

# The numbers that make sense, as an interval: "[0, 1)" is 0 <= x < 1. Every number has its line.
LIMITS = {
    "data.frame_size": "[32, 2048]",
    "data.resize_size": "[32, 4096]",
    "data.frame_step": "[0.001, 60]",
    "data.sample_rate": "[1000, 192000]",
    "data.seconds": "[0.25, 60]",
    "data.moments": "[1, 1000]",
    "data.misalignment": "[0, 60]",
    "data.cache_gb": "[0, 1e5]",
    "data.samples_per_decode": "[1, 1000]",
    "data.feature_views": "[0, 64]",
    "data.feature_frames": "[1, 1000]",
    "data.frames": "[1, 1000]",
    "data.flow_fields": "[1, 100]",
    "spectrogram.window": "(0, 0.5]",
    "spectrogram.hop": "(0, 0.0625]",
    "spectrogram.n_fft": "[32, 65536]",
    "spectrogram.n_mels": "[0, 1024]",
    "augment.crop_min": "(0, 2]",
    "augment.crop_max": "(0, 2]",
    "augment.brightness": "[0, 1)",
    "augment.saturation": "[0, 1)",
    "augment.gain": "[0, 1)",
    "augment.hue": "[0, 1)",
    "augment.rotation": "[0, 180]",
    "augment.stretch": "[0, 1)",
    "augment.contrast": "[0, 1)",
    "augment.channel_gain": "[0, 1)",
    "augment.grey": "[0, 1)",
    "augment.erase": "[0, 1)",
    "augment.blend": "[0, 1)",
    "augment.mix": "[0, 1)",
    "augment.tilt": "[0, 100]",
    "augment.noise": "[0, 100]",
    "augment.pitch": "[0, 0.5]",
    "augment.freq_mask": "[0, 0.5]",
    "augment.time_mask": "[0, 0.5]",
    "augment.ramp": "[0, 1]",
    "model.width": "[1, 2048]",
    "model.dim": "[1, 16384]",
    "model.dropout": "[0, 1)",
    "model.logit_scale": "(0, 1000]",
    "model.vision_stride": "[0, 32]",
    "model.mean_weight": "[0, 1]",
    "model.num_channels": "[1, 1024]",
    "model.sound_width": "[1, 1024]",
    "model.unet_depth": "[2, 12]",
    "mix.sources": "[2, 16]",
    "mix.samples": "[32, 1e7]",
    "mix.n_fft": "[16, 65536]",
    "mix.hop": "[1, 32768]",
    "mix.freq_bins": "[0, 8192]",
    "mix.log_floor": "(0, 1]",
    "mix.frames": "[1, 100]",
    "mix.frame_stride": "(0, 600]",
    "mix.volume": "[0, 1)",
    "mix.speed": "[0, 1]",
    "mix.tilt": "[0, 100]",
    "mix.repeats": "[1, 1e6]",
    "train.epochs": "[1, 1e6]",
    "train.max_minutes": "[0, 1e6]",
    "train.batch_size": "[2, 1e5]",
    "train.grad_accum_steps": "[1, 1e5]",
    "train.lr": "(0, 1e38]",
    "train.last_layer_lr_mult": "(0, 1e6]",
    "train.lr_vision": "[0, 1e6]",
    "train.tuned_stages": "[0, 100]",
    "train.lr_sound": "[0, 1e6]",
    "train.lr_vision_head": "(0, 1e6]",
    "train.momentum": "[0, 1)",
    "train.lr_muon": "(0, 1e6]",
    "train.warmup": "[0, 1)",
    "train.weight_decay": "[0, 1000]",
    "train.ema": "[0, 1)",
    "train.aux_loss_weight": "[0, 1]",
    "train.avc_loss_weight": "[0, 1]",
    "train.temperature": "[0.01, 10]",
    "train.silence": "[0, 1)",
    "train.avc_warmup": "[0, 1)",
    "train.low_res_until": "[0, 1)",
    "train.low_res_size": "[32, 2048]",
    "train.seed": "[0, 4294967295]",
    "train.workers": "[-1, 1024]",
    "train.validate_every": "[1, 1e6]",
    "train.save_every": "[1, 1e9]",
    "train.save_seconds": "[0, 1e6]",
    "train.log_every": "[1, 1e9]",
    "eval.batch_size": "[1, 1e5]",
    "eval.k": "[1, 1e6]",
    "eval.queries": "[0, 1e9]",
    "eval.object_weight": "[0, 1]",
    "eval.group": "[2, 8192]",
}
REQUIRED = (  # texts that must not be empty
    "data.root", "train.run_dir", "model.vision", "model.vision_weights", "model.sound", "model.sound_weights",
)  # fmt: skip
MAX_PATH, MAX_NAME = 4000, 255  # bytes that systems allow in a path, and in the name of a file or a folder


def config_errors(config: Config) -> list[str]:
    """List what is wrong with a config: one sentence for each mistake, which names its setting.

    Args:
        config: the settings, with values of the right types.

    Returns:
        Error messages, empty if the config is valid.
    """
    errors = []
    for section in fields(config):
        values = getattr(config, section.name)
        for field in fields(values):
            name, value = f"{section.name}.{field.name}", getattr(values, field.name)
            errors += limit_errors(name, value) if name in LIMITS else text_errors(name, value)
    if errors:  # the rules below may divide by what is 0
        return errors
    rules = [
        *_data_rules(config.data, config.model),
        *_spectrogram_rules(config.spectrogram, config.data),
        (config.augment.crop_min <= config.augment.crop_max, "augment.crop_min must not be above augment.crop_max"),
        *_mix_rules(config.mix, config.model, config.data),
        *_model_rules(config.model),
        *_train_rules(config.train, config.data.frame_size),
        (
            config.data.moments == 1 or config.train.negatives != "off_grid",
            "data.moments must be 1 with train.negatives off_grid",
        ),
        *_loss_rules(config.train, config.model),
        *feature_rules(config),
        (
            not (config.eval.softmax_masks and config.mix.noise_root),
            "eval.softmax_masks must be false with mix.noise_root: the sources would be given the noise too",
        ),
    ]
    return [message for holds, message in rules if not holds]


def limit_errors(name: str, value: float) -> list[str]:
    """Check a number against its limits.

    Args:
        name: dotted name of the setting, a key of LIMITS.
        value: of the setting.

    Returns:
        An error message, or nothing.
    """
    (least, most), (opening, closing) = _interval(LIMITS[name])
    if (value > least or (value == least and opening == "[")) and (value < most or (value == most and closing == "]")):
        return []
    text = str(value) if isinstance(value, float) or abs(value) < 1e18 else "a number of more than 18 digits"
    return [f"{name} must be {describe_limits(name)}, and is {text}"]


def describe_limits(name: str) -> str:
    """Describe the limits of a number in words, such as "at least 0 and below 1".

    Args:
        name: dotted name of the setting, a key of LIMITS.
    """
    limits, brackets = _interval(LIMITS[name])
    words = {"[": "at least", "(": "above", "]": "at most", ")": "below"}
    numbers = [f"{limit:,.0f}" if 1000 <= limit < 1e15 else f"{limit:g}" for limit in limits]
    return " and ".join(f"{words[bracket]} {number}" for bracket, number in zip(brackets, numbers, strict=True))


def _interval(text: str) -> tuple[tuple[float, float], tuple[str, str]]:
    least, most = text[1:-1].split(", ")
    return (float(least), float(most)), (text[0], text[-1])


def text_errors(name: str, value: object) -> list[str]:
    """Check a text, most of which are paths.

    Args:
        name: dotted name of the setting.
        value: of the setting; what is no text has no errors.

    Returns:
        An error message, or nothing.
    """
    if not isinstance(value, str):
        return []
    if name in REQUIRED and not value:
        return [f"{name} must not be empty"]
    if "\0" in value:
        return [f"{name} must not hold a zero character"]
    encoded = value.encode(errors="replace")
    parts = [] if "://" in value else encoded.split(b"/")
    if len(encoded) > MAX_PATH or any(len(part) > MAX_NAME for part in parts):
        return [f"{name} is too long: at most {MAX_PATH} bytes, and {MAX_NAME} for the name of a file or folder"]
    return []


def _data_rules(data: Data, model: Model) -> list[Rule]:
    return [
        (data.resize_size >= data.frame_size, "data.resize_size must not be smaller than data.frame_size"),
        (
            model.name != "AVENet_MF" or data.frames >= 8,
            "data.frames must be at least 8: the pools of AVENet_MF halve the number of frames three times",
        ),
        (
            model.name != "AVENet_OF" or data.flow != "none",
            "data.flow must be tvl1, dis or farneback: AVENet_OF needs optical flow",
        ),
        (
            data.cache_gb == 0 or model.name not in ("AVENet_MF", "AVENet_OF"),
            f"data.cache_gb must be 0 for {model.name}: the cache keeps single frames",
        ),
    ]


def _spectrogram_rules(spec: Spectrogram, data: Data) -> list[Rule]:
    return [
        (spec.hop <= spec.window, "spectrogram.hop must not be above spectrogram.window"),
        (
            spec.window * data.sample_rate <= spec.n_fft,
            f"spectrogram.n_fft must hold spectrogram.window at data.sample_rate: at least "
            f"{round(spec.window * data.sample_rate)} samples",
        ),
        (
            round(spec.hop * data.sample_rate) >= 1,
            f"spectrogram.hop must be at least one sample at data.sample_rate, {1 / data.sample_rate:.2g} seconds",
        ),
        (
            16 * spec.hop <= data.seconds,
            f"spectrogram.hop must be at most data.seconds / 16, {data.seconds / 16:.2g} seconds: the nets halve "
            "columns four times",
        ),
        (
            spec.n_mels == 0 or 16 <= spec.n_mels <= spec.n_fft // 2 + 1,
            "spectrogram.n_mels must be 0, or at least 16 and at most spectrogram.n_fft / 2 + 1: the nets halve rows "
            "four times",
        ),
    ]


def _mix_rules(mix: Mix, model: Model, data: Data) -> list[Rule]:
    rows, columns = mix.freq_bins or mix.n_fft // 2 + 1, mix.samples // mix.hop + 1
    factor = 2**model.unet_depth
    return [
        (mix.n_fft % 2 == 0, "mix.n_fft must be even"),
        (mix.hop <= mix.n_fft // 2, "mix.hop must be at most mix.n_fft / 2: the transform must be invertible"),
        (mix.samples > mix.n_fft, "mix.samples must be more than mix.n_fft"),
        (
            rows % factor == 0 and columns % factor == 0,
            f"mix.freq_bins ({rows} rows) and mix.samples // mix.hop + 1 ({columns} columns) must be multiples of "
            f"{factor}: the sound net halves both model.unet_depth ({model.unet_depth}) times",
        ),
        (
            model.name != "PixelPlayer" or mix.frame_fit == "squeeze" or data.cache_gb == 0,
            "data.cache_gb must be 0 with mix.frame_fit crop: the cache keeps squares, not whole frames",
        ),
    ]


def _model_rules(model: Model) -> list[Rule]:
    return [
        (
            model.vision_stride in (0, 8, 16, 32),
            f"model.vision_stride must be 0, 8, 16 or 32, and is {model.vision_stride}",
        ),
        (
            model.encoder != "convnet" or not model.pretrained,
            "model.vision_weights must be none with model.vision convnet: it has no published weights; use "
            "model.init_from for a net of your own",
        ),
        (
            model.sound != "convnet" or model.sound_weights == "none",
            "model.sound_weights must be none with model.sound convnet: it has no published weights",
        ),
    ]


def _train_rules(train: Train, size: int) -> list[Rule]:
    return [
        (
            train.gather == "rank" or train.negatives != "off_grid",
            "train.gather must be rank with train.negatives off_grid",
        ),
        (
            train.optimizer == "adam"
            or train.lr * max(train.lr_muon, train.lr_vision, train.last_layer_lr_mult) < 1e36,
            "train.lr times its multipliers must be below 1e36",
        ),
        (not train.low_res_until or train.low_res_size <= size, "train.low_res_size must be at most data.frame_size"),
        (not train.avc_warmup or train.avc_loss_weight > 0, "train.avc_warmup needs train.avc_loss_weight above 0"),
    ]


def _loss_rules(train: Train, model: Model) -> list[Rule]:
    return [
        (
            model.features_from == "map" or train.avc_loss_weight > 0,
            "model.features_from embedding needs train.avc_loss_weight above 0: the embedding is the AVC branch's",
        ),
        (
            train.loss == "avc" or model.name != "PixelPlayer" or train.avc_loss_weight > 0,
            f"train.loss {train.loss} needs train.avc_loss_weight above 0: it is the AVC branch's",
        ),
        (
            train.loss == "avc" or model.name != "L3Net",
            "train.loss must be avc for L3Net, whose vectors of frames and sounds can't be compared",
        ),
        (
            train.loss != "max_infonce" or model.name in ("AVOLNet", "L3Net"),
            f"train.loss max_infonce needs a vector for each location, and {model.name} has one for a frame: set "
            "train.loss infonce, or model.name AVOLNet",
        ),
        (
            train.loss == "avc" or train.negatives == "all",
            f"train.negatives must be all with train.loss {train.loss}: its softmax is over the whole batch",
        ),
        (
            train.loss != "avc" or not train.learn_temperature,
            "train.learn_temperature needs train.loss infonce or max_infonce",
        ),
        (not train.silence or train.negatives != "off_grid", "train.silence must be 0 with train.negatives off_grid"),
    ]
