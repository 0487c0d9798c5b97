"""A frozen encoder whose features are computed before: what identifies it, and nets that take its features."""

import pytest
import timm
import torch

from configs.schema import Config, Data, Model, Train
from models import build_net
from models.pretrained import frozen_encoder, set_up_encoders


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def frozen(weights, net="AVENet", **train):
    model = Model(name=net, width=4, dim=8, vision="test_resnet", vision_weights=str(weights))
    config = Config(data=Data(), model=model, train=Train(lr_vision=0, **train))
    torch.manual_seed(1)
    net = build_net(config.model)
    set_up_encoders(net, config, (), resumed=False)
    return net, config


@pytest.mark.parametrize("name", ["AVENet", "AVOLNet", "L3Net"])
def test_a_net_takes_the_features_of_its_frozen_encoder_for_the_frames(weights, name):
    net, config = frozen(weights, name)
    encoder = frozen_encoder(net, config)
    frames, sounds = torch.randn(6, 3, 64, 64), torch.randn(6, 1, 33, 32)
    with torch.no_grad():
        features = encoder(frames)
    assert features.shape[:2] == (6, net.vision.channels)
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
