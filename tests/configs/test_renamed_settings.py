"""Configs that older versions stored load with today's names; an unknown setting names its file and version."""

import json
from pathlib import Path

import pytest
from helpers import small_checkpoint

from configs.renames import CONFIG_VERSION, RENAMED, RENAMED_VALUES, new_names, rename_settings
from configs.schema import NETS, Config, Model, Train
from evaluation.trained_net import load_trained_net
from utils import checkpoint
from utils.command_line import parse_command_line
from utils.config import DEFAULTS, all_settings, from_dict, override, to_dict, translate_stored
from utils.errors import UserError
from utils.run import Run

# What the last version with the old names (config version 1) stored for each of its config files.
OLD = json.loads((Path(__file__).parent / "old_configs.json").read_text(encoding="utf-8"))
TODAY = {  # spelled out here, so that a line lost from the table is noticed
    "augment.mask_bands": "augment.freq_mask",
    "augment.mask_times": "augment.time_mask",
    "data.samples_per_visit": "data.samples_per_decode",
    "data.stored_size": "data.resize_size",
    "eval.mirror": "eval.flip_tta",
    "eval.whole_ranking": "eval.full_ranking",
    "mix.passes": "mix.repeats",
    "mix.rows": "mix.freq_bins",
    "model.frame_net": "model.vision",
    "model.imagenet": "model.vision_weights",
    "model.levels": "model.unet_depth",
    "model.maps": "model.num_channels",
    "spectrogram.mel_bands": "spectrogram.n_mels",
    "train.accumulate": "train.grad_accum_steps",
    "train.lr_decision": "train.last_layer_lr_mult",
    "train.lr_frames": "train.lr_vision",
    "train.matches_first": "train.avc_warmup",
    "train.start_from_data": "train.data_dependent_init",
}
OLD_PIXELPLAYER = {
    "mix.clip": False, "mix.frame_fit": "squeeze", "mix.log_floor": 1e-4, "model.unet_bias": True,
    "model.unet_init": "default",
}  # fmt: skip
POOLED = {"AVOLNet": "train.aux_loss_weight", "PixelPlayer": "train.avc_loss_weight"}


def flat(stored):
    return {f"{section}.{key}": value for section, values in stored.items() for key, value in values.items()}


def nested(settings):
    stored = {}
    for name, value in settings.items():
        section, key = name.split(".")
        stored.setdefault(section, {})[key] = value
    return stored


def today(name, net):
    """Today's name of a setting that version 1 stored for a net; None if that net never read it."""
    if name in ("model.frame_net", "model.imagenet", "train.lr_frames") and net != "PixelPlayer":
        return None  # which others read since version 3 or 4
    name = POOLED.get(net) if name == "train.pooled" else TODAY.get(name, name)
    return name if name and net in DEFAULTS[name].nets else None


# -------------------------------------------------------------------------------------------------------------- table


def test_the_table_leads_from_names_that_are_gone_to_names_that_are_there():
    for old, new in RENAMED:
        assert old not in DEFAULTS and new in DEFAULTS
    for (name, old), new in RENAMED_VALUES.items():
        kind = DEFAULTS[name].kind
        assert kind is str or (old not in kind.__args__ and new in kind.__args__)


def test_every_old_name_is_in_the_table():
    assert {old: new for old, new in RENAMED if old != "train.pooled"} == TODAY
    assert set(new_names("train.pooled")) == set(POOLED.values())
    stored = {name for config in OLD.values() for name in flat(config)}
    assert stored - DEFAULTS.keys() == {old for old, _ in RENAMED}


def test_todays_settings_are_left_alone():
    config = flat(to_dict(Config()))
    assert rename_settings(config) == config


# ----------------------------------------------------------------------------------------------------- stored configs


@pytest.mark.parametrize("file", OLD)
def test_an_old_config_loads_with_all_its_values(file):
    old = flat(OLD[file])
    net = old["model.name"]
    read = {today(name, net): value for name, value in old.items() if today(name, net)}
    if net == "PixelPlayer":  # values that were renamed, or, without pretrained weights, have no effect today
        read |= {
            "config_PixelPlayer": {"train.schedule": "multistep"},
            "demo_PixelPlayer": {
                "model.vision": "convnet",
                "model.vision_weights": "none",
                "train.lr_vision": Train().lr_vision,
            },
        }[file]
    loaded = flat(to_dict(from_dict(OLD[file], "best.pt", version=1)))
    added = {name: DEFAULTS[name].value for name in loaded.keys() - read.keys()}  # settings that version 1 lacked
    if net == "PixelPlayer":  # what it did where today's default is another
        read |= {} if read["model.vision"] == "convnet" else {"model.vision": "resnet18_v3"}
        added |= OLD_PIXELPLAYER | {"train.lr_vision_head": old["train.lr_frames"]}
        added |= {"train.freeze_norm": False} if read["model.vision_weights"] == "imagenet" else {}
    assert loaded == read | added
    assert len(read) > 60


def another(setting):
    """A value that differs from the setting's default, of its type."""
    if isinstance(setting.value, bool):
        return not setting.value
    if isinstance(setting.value, str):
        return f"not {setting.value}"
    return setting.value + 1


@pytest.mark.parametrize("net", NETS)
def test_no_value_of_an_old_config_is_lost(net):
    """As the shipped configs leave most settings at their defaults: here all differ from them."""
    old = next(flat(config) for config in OLD.values() if flat(config)["model.name"] == net)
    new = {name: today(name, net) for name in old if name != "model.name"}
    values = {name: another(DEFAULTS[new[name]]) if new[name] else "never read" for name in new}
    assert translate_stored(values, net) == {new[name]: values[name] for name in new if new[name]}


def test_old_values_get_their_new_names():
    assert translate_stored({"train.schedule": "tenths", "model.frame_net": "plain"}, "PixelPlayer") == {
        "train.schedule": "multistep", "model.vision": "convnet",
    }  # fmt: skip
    assert translate_stored({"data.root": "plain"}, "AVENet") == {"data.root": "plain"}


PRETRAINED = {"model": {"name": "PixelPlayer", "vision_weights": "imagenet"}}


@pytest.mark.parametrize("version", [3, 4])
def test_an_old_pixelplayer_learns_as_it_did(version):
    """Before encoders had names, batch norm was trained with ImageNet's weights too, and "auto" was Adam with them."""
    stored = PRETRAINED | {"train": {"optimizer": "auto", "lr_vision": 0.1}}
    train = from_dict(stored, "last.pt", version).train
    assert (train.freeze_norm, train.optimizer, train.lr_vision) == (False, "adam", 0.1)
    stored = {"model": {"name": "PixelPlayer", "vision_weights": ""}, "train": {"optimizer": "auto", "lr_vision": 1.0}}
    old = from_dict(stored, "last.pt", version)
    new = from_dict(stored | {"train": {"optimizer": "auto"}}, "last.pt", version)
    assert old.train.lr_vision_head == 1 and old.model.vision_weights == "none"
    assert old.train == new.train and new.train.optimizer == "auto"  # resumed without more words
    assert from_dict(to_dict(old), "last.pt") == old


@pytest.mark.parametrize("pool", ["max_mean", "max_salient"])
def test_a_net_that_can_no_longer_be_built_says_so(pool):
    stored = {"model": {"name": "AVENet", "vision_weights": "imagenet", "vision_pool": pool}}
    with pytest.raises(UserError, match=f"best.pt holds a net with model.vision_pool {pool}, which this code can't"):
        from_dict(stored, "best.pt")


def test_an_unknown_stored_setting_names_the_file_and_the_version_that_wrote_it(tmp_path):
    path = small_checkpoint(tmp_path / "best.pt")
    content = checkpoint.load(path)
    content["config"]["train"]["momentun"] = 0.9
    checkpoint.save(path, content | {"config_version": 3})
    with pytest.raises(UserError) as error:
        load_trained_net(path)
    assert str(error.value) == (
        f"{path} was written with config version 3, and this code, of config version {CONFIG_VERSION}, has no setting "
        "'train.momentun': use the code that wrote the file, or add the new name of the setting to configs/renames.py"
    )
    del content["config_version"]  # as version 1, which stored no version
    checkpoint.save(path, content)
    with pytest.raises(UserError, match=r"best\.pt was written with config version 1, .* no setting 'train\.momentun'"):
        load_trained_net(path)


def test_a_stored_value_out_of_its_range_names_the_file():
    with pytest.raises(UserError, match=r"run/last\.pt: train\.epochs must be at least 1"):
        from_dict({"train": {"epochs": 0}}, Path("run/last.pt"))


# ------------------------------------------------------------------------------------------------- checkpoints, runs


def as_version_1(path, **settings):
    """Rewrite a checkpoint as version 1 would have: all settings of all nets, under their old names."""
    content = checkpoint.load(path)
    content.pop("config_version", None)
    config = from_dict(content["config"])
    old = {new: old for old, new in TODAY.items()}
    stored = {old.get(name, name): setting.value for name, setting in all_settings(config).items()}
    content["config"] = nested({name: value for name, value in stored.items() if name not in POOLED.values()})
    content["config"]["train"]["pooled"] = 0.0
    content["config"]["model"]["frame_net"] = "resnet18"
    checkpoint.save(path, content | settings)
    return path


def test_an_old_checkpoint_is_evaluated(tmp_path):
    path = small_checkpoint(tmp_path / "best.pt", **{"train.grad_accum_steps": 3, "data.resize_size": 40})
    before = load_trained_net(path).config
    assert load_trained_net(as_version_1(path)).config == before
    assert before.train.grad_accum_steps == 3 and before.data.resize_size == 40


def test_an_old_run_is_resumed_and_its_settings_are_compared(tmp_path):
    path = small_checkpoint(tmp_path / "run/last.pt", **{"train.run_dir": str(tmp_path / "run")})
    config = load_trained_net(path).config
    as_version_1(path, optimizer=[])
    assert Run(config, resume=True).resumed["step"] == 0
    with pytest.raises(UserError, match=r"was started with train\.grad_accum_steps 1, not 2: resume it with the same"):
        Run(override(config, {"train.grad_accum_steps": 2}), resume=True)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("--train.accumulate", "train.accumulate was renamed to train.grad_accum_steps"),
        ("--eval.mirror=true", "eval.mirror was renamed to eval.flip_tta"),
        (
            "--train.pooled",
            "train.pooled was renamed to train.aux_loss_weight (AVOLNet) or train.avc_loss_weight (PixelPlayer)",
        ),
    ],
)
def test_an_old_name_on_the_command_line_gets_the_new_one(word, sentence):
    with pytest.raises(UserError) as error:
        parse_command_line([word, "2"], "Evaluate.", lambda parser: None)
    assert str(error.value) == sentence


def test_an_old_value_on_the_command_line_gets_the_new_one():
    with pytest.raises(UserError, match="must be one of step, multistep, cosine; 'tenths' was renamed to 'multistep'"):
        override(Config(model=Model()), {"train.schedule": "tenths"})
