"""Settings of a frozen encoder's features: when they are kept, and what doesn't go together with them."""

import pytest

from configs.schema import Config, Model
from utils.config import from_dict, override, to_dict
from utils.errors import UserError

FROZEN = {"model.vision": "efficientnet_lite0", "model.vision_weights": "imagenet", "train.lr_vision": 0}


def config(net="AVENet", **changes):
    squeezed = {"mix.frame_fit": "squeeze"} if net == "PixelPlayer" else {}
    return override(Config(model=Model(name=net)), FROZEN | squeezed | changes)


@pytest.mark.parametrize("net", ["AVENet", "AVOLNet", "L3Net", "PixelPlayer"])
def test_features_are_kept_where_the_encoder_is_frozen_and_nowhere_else(net):
    assert config(net).keeps_features
    assert not config(net, **{"data.feature_views": 0}).keeps_features
    assert not config(net, **{"train.lr_vision": 0.05}).keeps_features
    assert config(net, **{"train.lr_vision": 0.05, "train.tuned_stages": 1}).keeps_features
    assert not config(net, **{"model.vision_weights": "none"}).keeps_features
    assert not Config(model=Model(name=net)).keeps_features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mix.frames": 5},
            r"data\.feature_frames must be at least mix\.frames \(5\), or data\.feature_views 0",
        ),
        ({"mix.frame_fit": "crop"}, r"mix\.frame_fit must be squeeze .*, or data\.feature_views 0"),
        ({"data.moments": 5}, r"data\.feature_frames must be at least data\.moments \(5\), or data\.feature_views 0"),
        ({"train.negatives": "off_grid"}, r"train\.negatives must not be off_grid .*, or data\.feature_views 0"),
        ({"data.feature_views": -1}, r"data\.feature_views must be at least 0"),
        ({"data.feature_frames": 0}, r"data\.feature_frames must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    net = "PixelPlayer" if any(name.startswith("mix.") for name in changes) else "AVENet"
    with pytest.raises(UserError, match=message):
        config(net, **changes)
    if "data.feature_views" not in changes and "data.feature_frames" not in changes:
        assert config(net, **changes, **{"data.feature_views": 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.lr_vision": 0}, r"with train\.lr_vision 0, which freezes all stages"),
        ({"train.freeze_norm": False}, r"with train\.freeze_norm false"),
        ({"model.vision_weights": "none"}, r"with model\.vision_weights none"),
    ],
)
def test_some_stages_are_tuned_only_of_an_encoder_that_is_known_and_learns(changes, message):
    tuned = {"train.tuned_stages": 2, "train.lr_vision": 0.05}
    assert config(**tuned)
    with pytest.raises(UserError, match=r"train\.tuned_stages must be 0 " + message):
        config(**tuned | changes)


@pytest.mark.parametrize("net", ["AVENet", "PixelPlayer"])
def test_checkpoints_of_versions_without_these_settings_encode_frames_in_each_step(net):
    stored = to_dict(config(net))
    for name in ("feature_views", "feature_frames", "features_dir"):
        del stored["data"][name]
    assert from_dict(stored, "last.pt", 4).data.feature_views == 0
    stored["train"]["lr_vision"] = 0.05  # no difference: nothing was kept
    assert from_dict(stored, "last.pt", 4) == config(net, **{"train.lr_vision": 0.05})
