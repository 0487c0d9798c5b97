"""Settings: every mistake gets one sentence that names it; nothing is lost between file, command line and storage."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from configs.rules import config_errors
from configs.schema import TRAIN_SCRIPTS, Config, Data, Model, Train
from utils.command_line import parse_command_line, parse_train_command
from utils.config import DEFAULTS, from_dict, list_settings, load_config, override, to_dict
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("configs/config_*.py"), *ROOT.glob("configs/demo_*.py")])
DEMO = str(ROOT / "configs/demo_AVENet.py")


def add_resume(parser):
    parser.add_argument("--resume", action="store_true")


def command_line(*words, config_file=DEMO):
    """Parse a command line as the training script of a config file's net does; returns (namespace, config)."""
    script = TRAIN_SCRIPTS[load_config(config_file).model.name]
    return parse_train_command(words, "Train a net.", add_resume, config_file, script)


def eval_command_line(*words):
    """Parse a command line as eval.py does; returns (namespace, changes)."""
    return parse_command_line(words, "Evaluate a net.", add_resume)


def config_with(name):
    """A valid config whose net reads the setting `name`."""
    net = DEFAULTS[name].nets[0]
    data = {"AVENet_MF": Data(frames=8), "AVENet_OF": Data(flow="dis")}.get(net, Data())
    return Config(data=data, model=Model(name=net))


# ----------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_config_loads_and_survives_storage(path):
    config = load_config(path)
    assert config_errors(config) == []
    assert from_dict(to_dict(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config  # as config.json has it
    assert command_line(config_file=str(path))[1] == config


def test_there_is_a_shipped_config_of_each_kind():
    assert {"config_AVENet", "demo_AVENet"} <= {path.stem for path in SHIPPED}


def test_defaults_are_those_of_the_paper():
    """OtS sec. 3 and 4.2: what it states; the learning rate it doesn't."""
    paper = Config()
    data, spectrogram, model, train, ev = paper.data, paper.spectrogram, paper.model, paper.train, paper.eval
    assert (data.frame_size, data.sample_rate, data.frame_step, data.misalignment) == (224, 48_000, 0.04, 1.0)
    assert (spectrogram.window, spectrogram.hop, spectrogram.n_fft, spectrogram.n_mels) == (0.01, 0.005, 512, 0)
    assert (model.width, model.dim, model.dropout) == (64, 128, 0)
    assert (train.batch_size, train.schedule, train.weight_decay, train.ema) == (128, "step", 1e-5, 0)
    assert (ev.k, ev.gain) == (30, "exponential")


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_config_file_may_import_another_and_change_it(tmp_path):
    text = """
        import dataclasses
        from configs.demo_AVENet import config
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, lr=3))
    """
    config = load_config(write(tmp_path, re.sub("(?m)^ +", "", text)))
    assert config.train.lr == 3.0 and isinstance(config.train.lr, float)
    assert dataclasses.replace(config.train, lr=load_config(DEMO).train.lr) == load_config(DEMO).train


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config = 1 / 0", r"mine\.py fails with ZeroDivisionError: division by zero"),
        ("config = (", r"mine\.py fails with SyntaxError"),
        ("import no_such_module", r"mine\.py fails with ModuleNotFoundError: .*no_such_module"),
        ("from configs.schema import Train\nconfig = Train(learning_rate=1)", r"mine\.py fails.*learning_rate"),
        ("from configs.schema import Config\nsettings = Config()", r"mine\.py must set `config`"),
        ("config = {'train': {}}", r"mine\.py must set `config`"),
        ("from configs.schema import *\nconfig = Config(train=Train(lr='fast'))", r"train\.lr is 'fast'.*a number"),
        ("from configs.schema import *\nconfig = Config(train=Train(epochs=0))", r"train\.epochs must be at least 1"),
    ],
)
def test_broken_config_file_is_a_users_mistake(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        load_config(write(tmp_path, text))


def test_missing_config_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no config file .*nowhere\.py; the shipped ones are in configs/"):
        load_config(tmp_path / "nowhere.py")
    with pytest.raises(UserError, match="there is no config file"):
        load_config(tmp_path)
    with pytest.raises(UserError, match=r"mine\.yaml must be a Python file"):
        load_config(write(tmp_path, "train: 1", "mine.yaml"))


# --------------------------------------------------------------------------------------------------------- storage


def test_stored_config_takes_defaults_for_what_it_lacks():
    assert from_dict({}) == Config()
    assert from_dict({"train": {"lr": 0.5}}) == Config(train=Train(lr=0.5))


@pytest.mark.parametrize("stored", [None, [], "x", {"train": 3}, {"train": None}])
def test_stored_config_of_another_form_is_refused(stored):
    with pytest.raises(UserError, match="stored config"):
        from_dict(stored)


def test_stored_config_with_an_unknown_setting_is_refused():
    with pytest.raises(UserError, match=r"no setting 'train\.momentun'"):
        from_dict({"train": {"momentun": 0.9}})


def test_override_changes_one_setting_and_keeps_the_others():
    before = load_config(DEMO)
    stored = to_dict(before)
    after = override(before, {"train.lr": "1e-3", "data.root": "elsewhere"})
    assert to_dict(before) == stored  # the original is as it was
    changed = {n for n, (value, *_) in list_settings(after).items() if value != list_settings(before)[n].value}
    assert changed == {"train.lr", "data.root"}
    assert after.train.lr == 1e-3 and after.data == dataclasses.replace(before.data, root="elsewhere")


# ---------------------------------------------------------------------------------------------------- command line


def test_command_line_overrides_the_file_with_typed_values():
    words = [
        "--train.lr", "1e-4", "--resume", "--train.epochs=7", "--data.root", "my data", "--augment.flip", "false",
        "--eval.gain", "linear", "--data.cache_gb", "3",
    ]  # fmt: skip
    args, config = command_line(*words)
    changes = eval_command_line(*words)[1]
    assert args.resume
    assert (config.train.lr, config.train.epochs, config.data.root) == (1e-4, 7, "my data")
    assert config.augment.flip is False and config.eval.gain == "linear"
    assert config.data.cache_gb == 3.0 and isinstance(config.data.cache_gb, float)
    assert changes["train.epochs"] == "7" and len(changes) == 6
    assert config.model == load_config(DEMO).model  # from the file, not from the schema's defaults
    assert command_line()[1] == load_config(DEMO)


def test_config_option_chooses_the_file(tmp_path):
    path = write(tmp_path, "from configs.schema import *\nconfig = Config(data=Data(root='there'))")
    assert command_line("--config", str(path))[1] == Config(data=Data(root="there"))
    assert command_line(f"--config={path}", "--data.root=here")[1] == Config(data=Data(root="here"))


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "YES"])
def test_yes_in_its_usual_spellings(text):
    off = override(Config(), {"augment.flip": False})
    assert override(off, {"augment.flip": text}).augment.flip is True


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "NO"])
def test_no_in_its_usual_spellings(text):
    """bool("false") is True: a flag that can't be switched off is a classic."""
    assert override(Config(), {"augment.flip": text}).augment.flip is False


@pytest.mark.parametrize("words", [["--train.lr", "-1"], ["--train.lr=-1"], ["--train.lr", "-1e-4"]])
def test_negative_value_is_read_as_a_value_and_refused_by_its_range(words):
    with pytest.raises(UserError, match=r"train\.lr .*must be above 0"):
        command_line(*words)


def test_text_may_begin_with_a_dash_and_hold_an_equals_sign():
    assert command_line("--data.root", "-odd")[1].data.root == "-odd"
    assert command_line("--data.root=--odder=x")[1].data.root == "--odder=x"


@pytest.mark.parametrize(
    "words", [["--train.lr"], ["--train.lr", "--train.epochs", "3"], ["--train.run_dir", "--resume"]]
)
def test_missing_value_is_named_and_the_next_option_is_not_taken_for_it(words):
    with pytest.raises(UserError, match=f"{words[0]} needs a value after it"):
        command_line(*words)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("--train.batchsize", "train.batch_size"),
        ("--trian.lr", "train.lr"),
        ("--data.rot", "data.root"),
        ("--model.widht", "model.width"),
        ("--lr", "--train.lr"),
        ("--epochs", "--train.epochs"),
        ("--resum", "--resume"),
        ("--confg", "--config"),
    ],
)
@pytest.mark.parametrize("equals", [True, False])
def test_unknown_setting_is_refused_with_the_nearest_right_name(word, nearest, equals):
    with pytest.raises(UserError) as error:
        command_line(*([f"{word}=1"] if equals else [word, "1"]))
    assert word.strip("-") in str(error.value) and f"the nearest is '{nearest}'" in str(error.value)


def test_abbreviated_option_is_not_guessed():
    """A guess would make `--res` mean something else as soon as another option is added."""
    with pytest.raises(UserError, match="'--res'"):
        command_line("--res")


def test_stray_word_is_refused():
    with pytest.raises(UserError, match="'data/demo' belongs to no option"):
        command_line("data/demo")
    with pytest.raises(UserError, match="--config"):
        command_line("--config")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("train.lr", "fast", "a number"),
        ("train.lr", "", "a number"),
        ("train.lr", "nan", "a number"),
        ("train.lr", "inf", "a number"),
        ("train.lr", None, "a number"),
        ("train.lr", True, "a number"),
        ("train.lr", [1], "a number"),
        ("train.epochs", "2.5", "a whole number"),
        ("train.epochs", 2.5, "a whole number"),
        ("train.epochs", "ten", "a whole number"),
        ("train.epochs", True, "a whole number"),
        ("train.epochs", 1e400, "a whole number"),
        ("augment.flip", "maybe", "true or false"),
        ("augment.flip", 1, "true or false"),
        ("augment.flip", "", "true or false"),
        ("data.root", 3, "text"),
        ("data.root", None, "text"),
        ("train.schedule", "linear", "one of step, multistep, cosine"),
        ("train.schedule", 1, "one of step, multistep, cosine"),
        ("data.on_error", "ignore", "one of stop, skip"),
    ],
)
def test_value_of_the_wrong_type_is_named_with_what_is_wanted(name, value, wanted):
    with pytest.raises(UserError, match=re.escape(f"{name} is {value!r}, but must be {wanted}")):
        override(Config(), {name: value})


OUT_OF_RANGE = {
    "data.frame_size": [0, 31, -224], "data.resize_size": [223, 0], "data.frame_step": [0, -1],
    "data.sample_rate": [0, 999, -48000], "data.misalignment": [-0.1], "data.cache_gb": [-1],
    "spectrogram.window": [0, -0.1, 0.6, 0.001], "spectrogram.hop": [0, -0.1, 0.02, 1e-9],
    "spectrogram.n_fft": [0, -512, 479], "spectrogram.n_mels": [-1, 1, 8],
    "augment.crop_min": [0, -1, 0.9], "augment.crop_max": [0.5, 3], "augment.brightness": [-0.1, 1],
    "augment.saturation": [-0.1, 1], "augment.gain": [-0.1, 1], "augment.contrast": [-0.1, 1],
    "augment.stretch": [-0.1, 1], "augment.channel_gain": [-0.1, 1], "augment.grey": [-0.1], "augment.erase": [-0.1, 1],
    "augment.pitch": [-0.1, 0.6], "augment.freq_mask": [-0.1, 0.6], "augment.time_mask": [-0.1, 0.6],
    "augment.rotation": [-1], "augment.tilt": [-1], "augment.noise": [-1],
    "augment.blend": [-0.1, 1], "augment.mix": [-0.1, 1], "augment.ramp": [-0.1, 1.1],
    "model.width": [0, -64], "model.dim": [0, -1], "model.dropout": [-0.1, 1],
    "train.epochs": [0, -1], "train.max_minutes": [-1], "train.batch_size": [1, 0, -2], "train.grad_accum_steps": [0],
    "train.lr": [0, -1], "train.last_layer_lr_mult": [0, -1], "train.lr_muon": [0, -1],
    "train.aux_loss_weight": [-0.1, 1.1], "train.avc_loss_weight": [-0.1, 1.1], "train.warmup": [-0.1, 1],
    "train.weight_decay": [-1],
    "train.ema": [-0.1, 1], "train.seed": [-1, 2**40], "train.workers": [-2], "train.validate_every": [0],
    "train.save_every": [0], "train.save_seconds": [-1], "train.log_every": [0],
    "eval.batch_size": [0], "eval.k": [0, -30], "eval.group": [1, 0],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in OUT_OF_RANGE.items() for v in values])
def test_value_out_of_its_range_is_refused_by_its_name(name, value):
    with pytest.raises(UserError) as error:
        override(config_with(name), {name: value})
    section, key = name.split(".")
    assert f"{section}." in str(error.value) and re.search(rf"\.{key}\b", str(error.value))


def test_every_number_has_a_range():
    """A new setting without a rule would let -1 through to a traceback in the middle of a run."""
    numbers = {name for name, setting in DEFAULTS.items() if setting.kind in (int, float)}
    for name in sorted(numbers - OUT_OF_RANGE.keys()):
        with pytest.raises(UserError, match=re.escape(name.split(".")[1])) as error:
            override(config_with(name), {name: -1})
        assert ", not of " not in str(error.value)  # it is refused for its range


def test_all_mistakes_are_told_at_once():
    with pytest.raises(UserError, match=r"train\.epochs.*eval\.group"):
        command_line("--train.epochs", "0", "--eval.group", "1")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_setting_with_its_value_and_documentation(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line(flag)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Train a net." in text and "--resume" in text and "--config FILE" in text
    for name, (value, _, doc, _) in list_settings(load_config(DEMO)).items():
        assert re.search(rf"--{re.escape(name)} \S+ \[{re.escape(str(value))}\]\n +{re.escape(doc)}\n", text + "\n")
    assert "--train.schedule step|multistep|cosine [cosine]" in text


def test_every_setting_is_documented():
    assert [name for name, setting in DEFAULTS.items() if len(setting.doc) < 10] == []


# ------------------------------------------------------------------ a script that takes its config from a checkpoint


def test_overrides_without_a_config_file_are_checked_and_handed_back():
    args, changes = eval_command_line("--data.root", "there", "--resume")
    assert args.resume and changes == {"data.root": "there"}
    with pytest.raises(UserError, match=r"eval\.k is 'many'"):
        eval_command_line("--eval.k", "many")
    with pytest.raises(UserError, match=r"the nearest is 'data\.root'"):
        eval_command_line("--data.rot", "x")
    with pytest.raises(UserError, match="no option '--config'"):
        eval_command_line("--config", DEMO)
