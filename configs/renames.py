"""Settings that were renamed: what configs stored by older versions call them.

A checkpoint keeps the names of the version that wrote it. Adding, removing or renaming a setting, or a value of one,
raises `CONFIG_VERSION`. A renamed one gets a line in a table below, so that old checkpoints still load; so does an
added one whose default is not what older versions did.
"""

from collections.abc import Mapping
from typing import Any

from configs.nets import FEATURE_NETS
from configs.schema import Train

CONFIG_VERSION = 4  # stored in each checkpoint; one without a version is of version 1

# (old name, new name). An old name may stand for several settings, each read by other nets.
RENAMED = (
    ("augment.mask_bands", "augment.freq_mask"),
    ("augment.mask_times", "augment.time_mask"),
    ("data.samples_per_visit", "data.samples_per_decode"),
    ("data.stored_size", "data.resize_size"),
    ("eval.mirror", "eval.flip_tta"),
    ("eval.whole_ranking", "eval.full_ranking"),
    ("mix.passes", "mix.repeats"),
    ("mix.rows", "mix.freq_bins"),
    ("model.frame_net", "model.vision"),
    ("model.imagenet", "model.vision_weights"),
    ("model.levels", "model.unet_depth"),
    ("model.maps", "model.num_channels"),
    ("spectrogram.mel_bands", "spectrogram.n_mels"),
    ("train.accumulate", "train.grad_accum_steps"),
    ("train.lr_decision", "train.last_layer_lr_mult"),
    ("train.lr_frames", "train.lr_vision"),
    ("train.matches_first", "train.avc_warmup"),
    ("train.pooled", "train.aux_loss_weight"),
    ("train.pooled", "train.avc_loss_weight"),
    ("train.start_from_data", "train.data_dependent_init"),
)

# {old name: nets that read it}. Version 1 stored every setting for every net; these have more nets today.
OLD_NETS = dict.fromkeys(("model.frame_net", "model.imagenet", "train.lr_frames"), ("PixelPlayer",))

# {(new name of the setting, old value): new value}
RENAMED_VALUES = {
    ("model.vision", "plain"): "convnet",
    ("model.vision_weights", ""): "none",
    ("train.schedule", "tenths"): "multistep",
}

# (setting, old value) of nets that this code can't build any more.
REMOVED_VALUES = (("model.vision_pool", "max_mean"), ("model.vision_pool", "max_salient"))

# {setting added by version 4: what older versions did}; see also `add_missing`.
BEFORE_VERSION_4: dict[str, bool | float | str] = {
    "mix.clip": False,
    "mix.frame_fit": "squeeze",
    "mix.log_floor": 1e-4,
    "model.unet_bias": True,
    "model.unet_init": "default",
}


def new_names(name: str) -> list[str]:
    """List the settings that an old name became: empty for a name that is not an old one.

    Args:
        name: dotted name of a setting.
    """
    return [new for old, new in RENAMED if old == name]


def rename_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Translate settings that an older version stored to the current names and values.

    Args:
        stored: {dotted name: value}; current and unknown names are kept unchanged.

    Returns:
        {dotted name: value}.
    """
    renamed = {new: value for name, value in stored.items() for new in new_names(name) or [name]}
    return {
        name: RENAMED_VALUES.get((name, value), value) if isinstance(value, str) else value
        for name, value in renamed.items()
    }


def removed_value(stored: Mapping[str, Any]) -> str:
    """Find a value that no net can have any more; "" without any.

    Args:
        stored: {dotted name: value}, with the current names.
    """
    found = [f"{name} {value}" for name, value in REMOVED_VALUES if stored.get(name) == value]
    return f"a net with {found[0]}, which this code can't build any more" if found else ""


def _before_encoders_by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give what PixelPlayer's `values` mean today, of a version without train.freeze_norm: {dotted name: value}."""
    if values.get("model.vision_weights", "none") != "none":  # with optimizer "auto", Adam trained all of such a net
        auto = values.get("train.optimizer") == "auto"
        return {"train.freeze_norm": False, **({"train.optimizer": "adam"} if auto else {})}
    # From scratch the rate was train.lr's by default, as it always is today: the default that has no effect.
    return {"train.lr_vision": Train.lr_vision} if values.get("train.lr_vision") == 1 else {}


def add_missing(stored: Mapping[str, Any], net: str, version: int) -> dict[str, Any]:
    """Add the settings that an older version lacked, with the values of what it did.

    Args:
        stored: {dotted name: value}, with the current names.
        net: name of the net.
        version: `CONFIG_VERSION` of the code that stored them.

    Returns:
        {dotted name: value}.
    """
    values = dict(stored)
    if net == "PixelPlayer" and "train.freeze_norm" not in values:
        values |= _before_encoders_by_name(values)
    if net in FEATURE_NETS and values.get("train.lr_vision") == 0 and "data.feature_views" not in values:
        values["data.feature_views"] = 0  # frozen encoders ran in each step
    if version >= 4:
        return values
    if values.get("model.vision") == "resnet18" or (
        net == "PixelPlayer" and values.get("model.vision", "auto") == "auto"
    ):
        values["model.vision"] = "resnet18_v3"  # its name since version 4 stands for the published net
    if net == "PixelPlayer":
        values = BEFORE_VERSION_4 | {"train.lr_vision_head": stored.get("train.lr_vision", 1.0)} | values
    return values
