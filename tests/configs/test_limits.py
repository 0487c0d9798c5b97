"""Limits of settings: whatever value a setting gets, it is taken or refused in one sentence that names it."""

import math
import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.rules import LIMITS, MAX_NAME, MAX_PATH, config_errors, describe_limits, limit_errors
from configs.schema import Config, Data, Model
from utils.config import DEFAULTS, from_dict, override, to_dict
from utils.errors import UserError

NUMBERS = [name for name, setting in DEFAULTS.items() if setting.kind in (int, float)]
TEXTS = [name for name, setting in DEFAULTS.items() if setting.kind is str]
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=300)
    | st.sampled_from(["x" * 5000, "9" * 5000, "1e400", "nan", "-inf", "0x10", "1_0", " 1 ", "true", "a\0b"])
    | st.binary(max_size=9)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def config_of(name):
    """A valid config whose net reads the setting `name`."""
    net = DEFAULTS[name].nets[0]
    data = {"AVENet_MF": Data(frames=8), "AVENet_OF": Data(flow="dis")}.get(net, Data())
    encoder = {"model.vision_weights": {"vision": "resnet18"}, "model.sound_weights": {"sound": "resnet18"}}
    return Config(data=data, model=Model(name=net, **encoder.get(name, {})))


def test_every_number_has_limits_and_its_default_is_within_them():
    assert LIMITS.keys() == set(NUMBERS)
    assert [limit_errors(name, DEFAULTS[name].value) for name in NUMBERS] == [[]] * len(NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_taken_up_to_its_limits_and_no_further(name):
    """The interval is read here by its brackets, independently of the rules."""
    opening, least, most, closing = re.fullmatch(r"([\[(])(.+), (.+)([\])])", LIMITS[name]).groups()
    least, most = float(least), float(most)
    assert math.isfinite(most) and least < most
    assert bool(limit_errors(name, least)) == (opening == "(") and bool(limit_errors(name, most)) == (closing == ")")
    for value in (math.nextafter(least, -math.inf), math.nextafter(most, math.inf), -(10**400), 10**400, math.nan):
        (message,) = limit_errors(name, value)
        assert name in message and describe_limits(name) in message and len(message) < 200


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(DEFAULTS)), ANYTHING)
def test_any_value_of_any_setting_is_taken_or_refused_by_the_settings_name(name, value):
    config = config_of(name)
    try:
        changed, message = override(config, {name: value}), name
    except UserError as error:
        changed, message = config, str(error)
    assert name in message or (name == "model.name" and "not of" in message)
    assert "\n" not in message and len(message) < 1000
    if changed is config:
        return
    section, key = name.split(".")
    stored = getattr(getattr(changed, section), key)
    kind = DEFAULTS[name].kind
    assert type(stored) is (str if get_args(kind) else kind)
    assert isinstance(value, str) or stored == value
    assert config_errors(changed) == [] and from_dict(to_dict(changed)) == changed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["data", "model", "train", "x", 1]), ANYTHING | st.dictionaries(
    st.sampled_from(["root", "name", "width", "lr", "ema", "x", 2]), ANYTHING, max_size=4), max_size=4))  # fmt: skip
def test_any_stored_config_loads_or_is_refused_with_its_files_name(stored):
    try:
        config, message = from_dict(stored, "run/last.pt"), "run/last.pt"
    except UserError as error:
        config, message = Config(), str(error)
    assert config_errors(config) == []
    assert "run/last.pt" in message and "\n" not in message


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_no_path_can_be_is_refused(name):
    config = config_of(name)
    for value in ("a\0b", "x" * (MAX_NAME + 1), "x/" * MAX_PATH):
        with pytest.raises(UserError, match=re.escape(name)):
            override(config, {name: value})
    section, key = name.split(".")
    longest = "/".join(["x" * MAX_NAME] * 15)
    assert getattr(getattr(override(config, {name: longest}), section), key) == longest


@pytest.mark.parametrize("name", ["data.root", "train.run_dir"])
def test_a_folder_that_is_needed_must_have_a_name(name):
    with pytest.raises(UserError, match=f"{name} must not be empty"):
        override(Config(), {name: ""})


def test_a_section_of_a_config_is_checked_as_its_own(tmp_path):
    from utils.config import load_config

    path = tmp_path / "mine.py"
    for text in ("Config(train=3)", "Config(data=Train())", "Config(train=None)"):
        path.write_text(f"from configs.schema import *\nconfig = {text}\n")
        with pytest.raises(UserError, match=r"mine\.py: (train|data) is .* but must be (Train|Data)\(\.\.\.\)"):
            load_config(path)
    path.write_text("\n\nimport sys\nsys.exit(0)\n")
    with pytest.raises(UserError, match=r"mine\.py fails with SystemExit: 0 \(line 4\)"):
        load_config(path)
