"""Every net has the methods that the protocols of models/interfaces.py ask for, with the same arguments."""

import inspect

import pytest
import torch

from configs.schema import NETS, Model
from models import AVC_NETS, MODELS, build_net
from models.avenet import ConvEncoder
from models.encoders import OWN_ENCODERS, build_vision_encoder
from models.interfaces import EmbeddingNet, FrameSoundEncoder, LocalizingNet, SeparatingNet
from models.resnet import DilatedResNet18
from models.vgg import ReplacedFrames
from utils.config import DEFAULTS


def methods(protocol):
    """{name: function} of a protocol and of those that it extends, without what torch's modules have."""
    bases = [base for base in protocol.__mro__ if base.__module__ == "models.interfaces" and base.__name__ != "Net"]
    return {name: f for base in bases for name, f in vars(base).items() if inspect.isfunction(f) and name[0] != "_"}


def assert_satisfies(kind, protocol):
    for name, function in methods(protocol).items():
        wanted, found = inspect.signature(function), inspect.signature(getattr(kind, name))
        assert list(found.parameters) == list(wanted.parameters), name
        assert inspect.get_annotations(getattr(kind, name)) == inspect.get_annotations(function), name


def test_the_methods_of_the_protocols_are_found():
    assert methods(LocalizingNet).keys() == {
        "embed_frames", "embed_with_flip", "embed_sounds", "frame_vectors", "sound_vectors", "pair_logits",
        "location_logits",
    }  # fmt: skip
    assert methods(SeparatingNet).keys() > {"frame_features", "sound_maps"}


def test_the_nets_of_the_settings_are_those_that_can_be_built():
    assert tuple(MODELS) == NETS


@pytest.mark.parametrize("name", MODELS)
def test_every_net_satisfies_the_protocol_of_what_it_does(name):
    net = build_net(Model(name=name, width=2, sound_width=2, unet_depth=2))
    assert isinstance(net, EmbeddingNet) == (name in AVC_NETS)
    assert isinstance(net, LocalizingNet) == (name == "AVOLNet")
    assert isinstance(net, SeparatingNet) == (name == "PixelPlayer")
    for protocol in (EmbeddingNet, LocalizingNet, SeparatingNet):
        if isinstance(net, protocol):
            assert_satisfies(type(net), protocol)


def test_vgg16_beside_a_nets_sounds_embeds_but_scores_no_pairs():
    assert_satisfies(ReplacedFrames, FrameSoundEncoder)
    assert not hasattr(ReplacedFrames, "pair_logits")


@pytest.mark.parametrize("vision", [*OWN_ENCODERS, "efficientnet_lite0"])
@pytest.mark.parametrize("name", DEFAULTS["model.vision"].nets)
def test_a_net_of_single_frames_takes_any_encoder(name, vision):
    config = Model(name=name, width=2, dim=8, vision=vision, num_channels=8, sound_width=2, unet_depth=2)
    net, built = build_net(config), build_vision_encoder(config)
    embed, encoder = (net.pixel_features, net.frames.body) if name == "PixelPlayer" else (net.embed_frames, net.vision)
    frames = torch.randn(2, 3, 64, 64)
    assert type(encoder) is type(built) and encoder(frames).shape[:2] == (2, built.channels)
    assert embed(frames).shape[:2] == (2, built.channels if name == "L3Net" else 8)


@pytest.mark.parametrize("name", DEFAULTS["model.vision"].nets)
def test_by_default_a_net_has_the_encoder_of_its_paper(name):
    net = build_net(Model(name=name, width=2))
    paper = (net.frames.body, DilatedResNet18) if name == "PixelPlayer" else (net.vision, ConvEncoder)
    assert type(paper[0]) is paper[1]
