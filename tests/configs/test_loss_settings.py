"""Settings of the loss: which go together, and one sentence for what doesn't."""

import pytest

from configs.schema import Config, Data, Model, Train
from utils.command_line import parse_train_command
from utils.config import from_dict, list_settings, override, to_dict
from utils.errors import UserError


def config_of(net):
    data = {"AVENet_MF": Data(frames=8), "AVENet_OF": Data(flow="dis")}.get(net, Data())
    return Config(data=data, model=Model(name=net))


@pytest.mark.parametrize(
    ("net", "settings"),
    [
        ("AVENet", {"train.loss": "infonce", "train.temperature": "0.03", "train.gather": "all"}),
        ("AVENet_MF", {"train.loss": "infonce", "train.silence": "0.2"}),
        ("AVENet_OF", {"train.loss": "infonce", "train.learn_temperature": "true"}),
        ("AVOLNet", {"train.loss": "infonce", "train.aux_loss_weight": "0.5"}),
        ("AVOLNet", {"train.loss": "max_infonce", "train.silence": "0.5", "train.temperature": "0.03"}),
        ("L3Net", {"train.loss": "avc", "train.silence": "0.5", "train.negatives": "one"}),
        ("PixelPlayer", {"train.loss": "infonce", "train.temperature": "0.2", "train.avc_loss_weight": "0.5"}),
    ],
)
def test_losses_that_a_net_can_learn_by_are_taken_and_stored(net, settings):
    config = override(config_of(net), settings)
    assert from_dict(to_dict(config)) == config and to_dict(config)["train"]["loss"] == settings["train.loss"]


@pytest.mark.parametrize(
    ("net", "settings", "sentence"),
    [
        ("L3Net", {"train.loss": "infonce"}, "train.loss must be avc for L3Net, whose vectors .* can't be compared"),
        ("L3Net", {"train.loss": "max_infonce"}, "train.loss must be avc for L3Net"),
        ("L3Net", {"train.temperature": "0.1"}, "train.temperature is a setting of AVENet"),
        ("PixelPlayer", {"train.loss": "infonce"}, "train.loss infonce needs train.avc_loss_weight above 0"),
        ("PixelPlayer", {"model.features_from": "embedding"}, "embedding needs train.avc_loss_weight above 0"),
        ("PixelPlayer", {"train.silence": "0.1"}, "train.silence is a setting of AVENet"),
        (
            "AVENet",
            {"train.loss": "max_infonce"},
            "max_infonce needs a vector for each location.*: set train.loss infonce",
        ),
        ("AVENet", {"train.loss": "infonc"}, "must be one of avc, infonce, max_infonce"),
        ("AVENet", {"train.loss": "infonce", "train.negatives": "one"}, "train.negatives must be all with train.loss"),
        ("AVOLNet", {"train.loss": "max_infonce", "train.negatives": "off_grid"}, "train.negatives must be all"),
        ("AVENet", {"train.learn_temperature": "true"}, "train.learn_temperature needs train.loss infonce"),
        ("AVENet", {"train.loss": "infonce", "train.temperature": "0"}, "train.temperature must be at least 0.01"),
        ("AVENet", {"train.loss": "infonce", "train.temperature": "nan"}, "train.temperature is 'nan'"),
        ("AVENet", {"train.silence": "1"}, "train.silence must be at least 0 and below 1"),
        ("AVENet", {"train.silence": "0.1", "train.negatives": "off_grid"}, "train.silence must be 0 with"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(net, settings, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        override(config_of(net), settings)
    assert "; " not in str(error.value) and "\n" not in str(error.value)


def test_a_checkpoint_without_these_settings_was_trained_by_the_papers_loss():
    stored = to_dict(config_of("AVOLNet"))
    for name in ("loss", "temperature", "learn_temperature", "silence"):
        del stored["train"][name]
    train = from_dict(stored).train
    assert (train.loss, train.silence, train.similarity) == ("avc", 0.0, "dot")


def test_infonce_and_only_it_makes_avol_net_compare_by_the_cosine():
    assert {loss: Train(loss=loss).similarity for loss in ("avc", "infonce", "max_infonce")} == {
        "avc": "dot", "infonce": "cosine", "max_infonce": "cosine",
    }  # fmt: skip
    assert "train.temperature" not in list_settings(config_of("L3Net"))


def parse(config_file, *words):
    script = "train_VOLNet.py" if "VOL" in config_file else "train_AVENet.py"
    return parse_train_command(words, "Train a net.", lambda parser: None, config_file, script)[1]


def test_a_temperature_that_is_given_needs_a_loss_that_reads_it():
    with pytest.raises(UserError, match=r"^train\.temperature needs train\.loss infonce or max_infonce: set one"):
        parse("configs/demo_AVENet.py", "--train.temperature", "0.1")


@pytest.mark.parametrize(
    ("name", "loss"), [("AVENet", "avc"), ("AVENet", "infonce"), ("VOLNet", "avc"), ("VOLNet", "infonce")]
)
def test_a_config_for_few_clips_trains_by_any_loss_and_loads_again(name, loss):
    config = parse(f"configs/few_clips_{name}.py", "--train.loss", loss)
    assert config.train.loss == loss and from_dict(to_dict(config)) == config
