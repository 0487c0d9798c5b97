"""A frozen encoder whose features are computed before: what identifies it, and nets that take its features."""

import pytest
import timm
import torch

from configs.schema import Config, Data, Model, Train
from models import build_net
from models.pretrained import frozen_encoder, set_up_encoders
from models.timm_encoder import TimmEncoder
from utils.errors import UserError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def frozen(weights, net="AVENet", **train):
    model = Model(name=net, width=4, dim=8, vision="test_resnet", vision_weights=str(weights))
    config = Config(data=Data(), model=model, train=Train(**{"lr_vision": 0, **train}))
    torch.manual_seed(1)
    net = build_net(config.model)
    set_up_encoders(net, config, (), resumed=False)
    return net, config


@pytest.mark.parametrize("tuned", [0, 2])
@pytest.mark.parametrize("name", ["AVENet", "AVOLNet", "L3Net"])
def test_a_net_takes_the_features_of_its_frozen_stages_for_the_frames(weights, name, tuned):
    net, config = frozen(weights, name, lr_vision=0.05 if tuned else 0, tuned_stages=tuned)
    encoder = frozen_encoder(net, config)
    frames, sounds = torch.randn(6, 3, 64, 64), torch.randn(6, 1, 33, 32)
    with torch.no_grad():
        features = encoder(frames)
    channels = timm.create_model("test_resnet").feature_info[-1 - tuned]["num_chs"]
    assert features.shape == (6, channels, 2 * 2**tuned, 2 * 2**tuned)
    for given in (frames, features):
        torch.manual_seed(2)
        net.data_dependent_init(given, sounds)
        outputs = net.forward_with_aux(given, sounds)
        if given is frames:
            wanted = outputs
    for one, other in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_every_weight_and_statistic_of_the_encoder_identifies_its_features(weights):
    net, config = frozen(weights)
    about = frozen_encoder(net, config).about
    assert about == frozen_encoder(frozen(weights, seed=3)[0], config).about and about["encoder"] == "test_resnet"
    with torch.no_grad():
        net.audio_fc1.weight.add_(1)  # of another part
    assert frozen_encoder(net, config).about == about
    seen = {about["weights"]}
    for value in net.vision.state_dict().values():
        value.add_(1)
        seen.add(frozen_encoder(net, config).about["weights"])
    assert len(seen) == 1 + len(net.vision.state_dict())


def test_an_encoder_that_learns_has_no_features_to_keep(weights):
    net, config = frozen(weights)
    assert frozen_encoder(net, Config(model=config.model, train=Train(lr_vision=0.1))) is None
    assert frozen_encoder(net, Config(data=Data(feature_views=0), model=config.model, train=config.train)) is None


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet18", "resnet26d"])
@pytest.mark.parametrize("tuned", [1, 3])
def test_the_first_stages_and_the_rest_are_the_whole_encoder(name, tuned):
    encoder = TimmEncoder(name).eval()
    encoder.freeze_first_stages(tuned)
    first, frames = encoder.first_stages(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(first(frames)), encoder(frames))
    assert not any(weight.requires_grad for weight in first.parameters())
    tuned_weights = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    assert tuned_weights == count(encoder) - count(first)


def count(module):
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("name", "tuned", "message"),
    [
        ("test_resnet", 4, "must be at most 3 with model.vision test_resnet, and is 4"),
        ("test_vit", 1, "must be at most 0 with model.vision test_vit, and is 1: only EfficientNets, MobileNets"),
        ("ghostnet_050", 1, "must be at most 0 with model.vision ghostnet_050"),  # it has a layer of another name too
    ],
)
def test_a_net_without_as_many_stages_is_refused(name, tuned, message):
    with pytest.raises(UserError, match=f"train.tuned_stages {message}"):
        TimmEncoder(name).freeze_first_stages(tuned)


def test_the_first_stages_alone_identify_what_they_compute(weights):
    net, config = frozen(weights, lr_vision=0.05, tuned_stages=1)
    about = frozen_encoder(net, config).about
    with torch.no_grad():
        net.vision.net.layer4[0].conv1.weight.add_(1)
        assert frozen_encoder(net, config).about == about
        net.vision.net.layer3[0].conv1.weight.add_(1)
        assert frozen_encoder(net, config).about["weights"] != about["weights"]
    other = frozen(weights, lr_vision=0.05, tuned_stages=2)
    assert frozen_encoder(*other).about["channels"] != about["channels"]
