"""Settings belong to nets: one that the net doesn't read is refused where a user gives it, and stored nowhere."""

import dataclasses
import json
import re

import pytest

from configs.schema import NETS, TRAIN_SCRIPTS, Config, Mix, Model, Train
from models import MODELS
from utils.command_line import parse_command_line, parse_train_command
from utils.config import DEFAULTS, changed_settings, from_dict, list_settings, load_config, override, to_dict
from utils.errors import UserError
from utils.optimizers import uses_muon
from utils.run import Run

FOREIGN = {  # a setting that the net doesn't read: {net: (name, value, the nets that do)}
    "AVENet": ("mix.sources", "4", "PixelPlayer"),
    "AVENet_MF": ("data.flow", "dis", "AVENet_OF"),
    "AVENet_OF": ("data.frames", "25", "AVENet_MF"),
    "AVOLNet": ("train.lr_vision_head", "0.1", "PixelPlayer"),
    "L3Net": ("train.aux_loss_weight", "0.5", "AVOLNet"),
    "PixelPlayer": ("eval.k", "10", "AVENet, AVENet_MF, AVENet_OF, AVOLNet and L3Net"),
}


def config_of(net):
    return load_config(f"configs/demo_{net.replace('AVOL', 'VOL')}.py")


def train_command(net, *words):
    """Parse a command line of the net's training script; returns the `Config`."""
    file, script = f"configs/demo_{net.replace('AVOL', 'VOL')}.py", TRAIN_SCRIPTS[net]
    return parse_train_command(words, "Train a net.", lambda parser: None, file, script)[1]


def write(folder, text):
    path = folder / "mine.py"
    path.write_text(f"from configs.schema import *\nconfig = {text}\n", encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------------- declarations


def test_the_schema_names_the_nets_that_there_are():
    assert set(NETS) == MODELS.keys() == TRAIN_SCRIPTS.keys()


def test_every_setting_is_read_by_some_net():
    for name, setting in DEFAULTS.items():
        assert setting.nets and set(setting.nets) <= set(NETS), name


@pytest.mark.parametrize("net", NETS)
def test_each_net_has_a_foreign_setting_and_its_own(net):
    own = list_settings(Config(model=Model(name=net)))
    assert FOREIGN[net][0] not in own and {"data.root", "model.name", "model.width", "train.lr"} <= own.keys()


# -------------------------------------------------------------------------------------------------- refused settings


@pytest.mark.parametrize("net", NETS)
def test_a_setting_of_another_net_is_refused_on_the_command_line(net):
    name, value, nets = FOREIGN[net]
    for given in (value, str(DEFAULTS[name].value)):  # whatever its value
        with pytest.raises(UserError, match=re.escape(f"{name} is a setting of {nets}, not of {net}: remove it")):
            train_command(net, f"--{name}", given)
        with pytest.raises(UserError, match=re.escape(f"{name} is a setting of {nets}, not of {net}: remove it")):
            override(config_of(net), {name: given})  # as eval.py and embed.py do


def test_several_settings_of_another_net_are_refused_in_one_sentence():
    with pytest.raises(UserError) as error:
        train_command("AVENet", "--mix.sources", "4", "--train.lr_vision_head", "0.01")
    assert str(error.value) == (
        "mix.sources and train.lr_vision_head are settings of PixelPlayer, not of AVENet: remove them, or set "
        "--model.name PixelPlayer"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Config(mix=Mix(sources=4))", r"mine\.py: mix\.sources is a setting of PixelPlayer, not of AVENet"),
        ("Config(model=Model(name='PixelPlayer', sound='x'))", r"mine\.py: model\.sound is a setting of AVENet,.*"),
        ("Config(train=Train(aux_loss_weight=0.5))", r"mine\.py: train\.aux_loss_weight is a setting of AVOLNet"),
    ],
)
def test_a_setting_of_another_net_is_refused_in_a_config_file(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        load_config(write(tmp_path, text))


def test_a_config_file_may_give_the_default_of_another_nets_setting(tmp_path):
    """A dataclass can't tell whether a field was given: only a different value would have no effect."""
    assert load_config(write(tmp_path, "Config(mix=Mix(sources=2))")) == Config()


def test_settings_of_the_files_net_are_refused_when_the_command_line_names_another():
    with pytest.raises(UserError, match=r"data\.frames is a setting of AVENet_MF, not of AVENet"):
        train_command("AVENet_MF", "--model.name", "AVENet")


def test_another_model_name_brings_its_own_settings():
    config = train_command("AVENet", "--model.name", "AVENet_OF", "--data.flow", "dis", "--data.cache_gb", "0")
    assert config.data.flow == "dis"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--config", "configs/demo_VOLNet.py"], "AVOLNet is trained by train_VOLNet.py"),
        (
            ["--config", "configs/demo_VOLNet.py", "--train.lr_vision_head", ".01", "--mix.sources", "4"],
            "AVOLNet is trained by train_VOLNet.py",
        ),
        (["--model.name", "AVOLNet"], "AVOLNet is trained by train_VOLNet.py"),
        (["--config", "configs/demo_PixelPlayer.py"], "PixelPlayer is trained by train_PixelPlayer.py"),
    ],
)
def test_a_training_script_refuses_a_net_of_another_script(words, sentence):
    with pytest.raises(UserError, match=sentence + r": run that script, or set --model\.name AVENet or AVENet_MF"):
        train_command("AVENet", *words)


# ------------------------------------------------------------------------------------------------------------ storage


@pytest.mark.parametrize("net", NETS)
def test_what_the_net_does_not_read_is_not_stored(net, tmp_path):
    config = dataclasses.replace(config_of(net), mix=Mix(sources=3, frame_fit="squeeze"))  # a plain dataclass in code
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, run_dir=str(tmp_path / "run")))
    Run(config).close()
    stored = json.loads((tmp_path / "run/config.json").read_text())
    names = {f"{section}.{key}" for section, values in stored.items() for key in values}
    assert names == {name for name, setting in DEFAULTS.items() if net in setting.nets} and FOREIGN[net][0] not in names
    assert ("mix" in stored) == (net == "PixelPlayer")
    back = from_dict(stored)
    assert to_dict(back) == stored and back.mix == (config.mix if net == "PixelPlayer" else Mix())


def test_changed_settings_are_those_that_the_net_reads():
    config = Config(mix=Mix(sources=3), train=Train(lr=0.5))
    assert [tuple(changed)[:3] for changed in changed_settings(config)] == [("train.lr", 0.5, 1e-4)]


# --------------------------------------------------------------------------------------------------------------- help


def help_of(parse, capsys):
    with pytest.raises(SystemExit) as stop:
        parse()
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_of_a_training_script_lists_what_its_net_reads_first(capsys):
    text = help_of(lambda: train_command("AVENet", "--help"), capsys)
    own, others = text.split("settings of other nets:")
    assert "settings of AVENet:" in own and "--eval.k int [30]" in own and "--mix." not in own
    assert re.search(r"--mix\.sources int \[2\]\n +\S.* \(PixelPlayer\)\n", others) and "--eval.k" not in others
    assert all(text.count(f"--{name} ") == 1 for name in DEFAULTS)


def test_help_of_other_scripts_names_the_nets_of_a_setting(capsys):
    text = help_of(lambda: parse_command_line(["--help"], "Evaluate.", lambda parser: None), capsys)
    assert re.search(r"--mix\.sources int \[2\]\n +\S.* \(PixelPlayer\)\n", text)
    assert re.search(r"--train\.lr float \[0\.0001\]\n +[^\n]*state it\)\n", text)
    assert all(f"--{name} " in text for name in DEFAULTS)


# ---------------------------------------------------------------------------------------------------------- optimizer


@pytest.mark.parametrize(
    ("optimizer", "model", "muon"),
    [
        ("muon", Model(), True),
        ("muon", Model(init_from="best.pt"), True),
        ("adam", Model(), False),
        ("sgd", Model(), False),
        ("auto", Model(), True),
        ("auto", Model(init_from="best.pt"), False),
        ("auto", Model(name="PixelPlayer"), True),
        ("auto", Model(name="PixelPlayer", vision_weights="imagenet"), True),  # the sound net
    ],
)
def test_muon_trains_from_scratch_only_if_the_optimizer_is_chosen_automatically(optimizer, model, muon):
    assert uses_muon(Config(model=model, train=Train(optimizer=optimizer))) is muon
