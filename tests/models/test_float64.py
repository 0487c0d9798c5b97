"""Every net works in float64 (`net.double()`): the same outputs as in float32, gradients in all weights."""

import copy
from functools import partial

import pytest
import torch
from helpers import relative_error
from torchvision.models import vgg16

from configs.schema import Config, Mix, Model
from dataset.transforms.mixtures import MixtureSTFT, stack_sources
from dataset.transforms.sounds import power_spectrogram
from models import MODELS, build_net
from models.avenet import AVCNet
from models.encoders import OWN_ENCODERS
from models.losses import make_avc_step, make_separation_step
from models.vgg import VGG16Features
from utils.config import override

LEADING = {"AVENet_MF": (3, 9), "AVENet_OF": (23,)}  # what comes before height and width in their frames
AVC = [
    *(Model(name=name, width=4) for name, net in MODELS.items() if issubclass(net, AVCNet)),
    *(Model(name="AVENet", width=4, vision=vision) for vision in (*OWN_ENCODERS, "efficientnet_lite0")),
]
PARTS = [
    {},
    {"model.detail": True, "model.unet_bias": True, "model.vision": "convnet"},
    {"mix.mask": "ratio", "mix.weights": "linear"},
    {"mix.mask": "soft", "mix.freq_bins": 0, "mix.n_fft": 62, "mix.samples": 1023},
]


class AVCBatch:
    """Stands for `PairTransform`: a batch of fixed frames and spectrograms of the net's dtype."""

    def __init__(self, name, count=6):
        generator = torch.Generator().manual_seed(1)
        self.frames = torch.randn(count, *LEADING.get(name, (3,)), 64, 64, generator=generator, dtype=torch.float64)
        self.sounds = torch.randn(count, 1, 48, 32, generator=generator, dtype=torch.float64)

    def __call__(self, batch):
        return self.frames.to(batch["dtype"]), self.sounds.to(batch["dtype"])


def both(net):
    """The net in eval mode in float32 and in float64, with the same weights."""
    torch.manual_seed(0)
    single = net.eval()
    double = copy.deepcopy(single).double()
    return ((single, torch.float32), (double, torch.float64))


def assert_gradients(net):
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and g.dtype == torch.float64 and g.isfinite().all() for g in gradients.values()), [
        name for name, g in gradients.items() if g is None
    ]


@pytest.mark.parametrize("model", AVC, ids=lambda model: f"{model.name}-{model.vision}")
def test_a_net_of_correspondence_in_float64_equals_float32(model):
    torch.manual_seed(0)
    transform, heads, outputs, numbers = AVCBatch(model.name), model.name == "AVOLNet", [], []
    for net, dtype in both(build_net(model)):
        frames, sounds = transform({"dtype": dtype})
        v, a, *logits = net.forward_with_aux(frames, sounds)
        values = [v, a, *logits, net.frame_vectors(v), net.sound_vectors(a), net.embed_with_flip(frames)]
        values += [net.location_logits(v, a)] if heads else []
        step = make_avc_step(transform, aux_loss_weight=0.5 if heads else 0.0)
        loss, metrics = step(net, {"gather": None, "dtype": dtype})
        loss.backward()
        outputs.append([*values, loss])
        numbers.append(torch.stack([value.detach().double() for value in metrics.values()]))
        assert all(value.dtype == dtype for value in [*values, loss])
    assert_gradients(net)
    for single, double in zip(*outputs, strict=True):
        assert relative_error(single.double(), double) < 1e-4
    assert torch.allclose(*numbers, atol=1e-4)  # differences of nearly equal numbers, in this untrained net
    net.train().data_dependent_init(*transform({"dtype": torch.float64}))
    assert all(value.isfinite().all() for value in net.state_dict().values())


class Mixture:
    """Stands for `MixtureTransform`: a batch of fixed frames and waves of the net's dtype."""

    def __init__(self, samples):
        generator = torch.Generator().manual_seed(1)
        self.frames = torch.randn(4, 2, 3, 64, 64, generator=generator, dtype=torch.float64)
        self.waves = torch.rand(4, samples, generator=generator, dtype=torch.float64) - 0.5
        self.sounds = torch.randn(4, 1, 48, 32, generator=generator, dtype=torch.float64)

    def __call__(self, batch):
        return self.frames.to(batch["dtype"]), self.waves.to(batch["dtype"])

    def avc_spectrograms(self, batch):
        return self.sounds.to(batch["dtype"])


@pytest.mark.parametrize("settings", PARTS, ids=str)
def test_pixelplayer_its_spectra_and_its_loss_in_float64_equal_float32(settings):
    small = {
        "model.name": "PixelPlayer", "model.width": 4, "model.sound_width": 2, "model.num_channels": 4,
        "model.unet_depth": 3, "model.unet_init": "default", "mix.samples": 511, "mix.n_fft": 30, "mix.hop": 8,
        "mix.freq_bins": 16,
    }  # fmt: skip
    config = override(Config(), small | settings)
    torch.manual_seed(0)
    built = build_net(config.model)
    built.add_avc_branch(width=2, dim=8)
    built.sounds.norm.running_mean.fill_(-2.0)
    transform, stft, outputs = Mixture(config.mix.samples), MixtureSTFT(config.mix), []
    for net, dtype in both(built):
        step = make_separation_step(transform, stft, partial(stack_sources, sources=2), config.mix.mask, 0.5)
        loss, metrics = step(net, {"progress": 1.0, "dtype": dtype})
        loss.backward()
        frames, waves = transform({"dtype": dtype})
        mixture = stft.stft(waves)
        maps = net.sound_maps(stft.net_input(mixture))
        pixels = net.pixel_features(frames[:, 0])
        masks = torch.cat(list(net.masks_at_pixels(pixels[0], maps[0])))
        sounds = stft.apply_masks(torch.sigmoid(net(frames[:, None], stft.net_input(mixture))), mixture, waves.shape[1])
        values = [loss, maps, pixels, masks, stft.weights(mixture), *([] if config.mix.mask == "binary" else [sounds])]
        assert all(value.dtype == dtype for value in [*values, sounds])
        outputs.append([*values, metrics["loss_match"], metrics["loss_masks"]])
    assert_gradients(net)
    for single, double in zip(*outputs, strict=True):
        assert relative_error(single.double(), double) < 1e-4
    net.train().data_dependent_init(frames, stft.net_input(mixture), transform.sounds)
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_the_frames_of_vgg16_are_embedded_in_float64():
    net = VGG16Features(vgg16(weights=None)).eval()
    frames = torch.randn(1, 3, 32, 32)
    single = net.embed_frames(frames)
    double = net.double().embed_frames(frames.double())
    assert double.dtype == torch.float64 and relative_error(single.double(), double) < 1e-4


def test_spectrograms_of_sounds_in_float64_equal_float32():
    waves = torch.rand(2, 8000, dtype=torch.float64) - 0.5
    double = power_spectrogram(waves, 8000, n_fft=128)
    assert double.dtype == torch.float64
    assert relative_error(power_spectrogram(waves.float(), 8000, n_fft=128).double(), double) < 1e-4


def test_a_spectrogram_in_float64_comes_back_as_its_sound():
    stft, waves = MixtureSTFT(Mix()), torch.rand(1, 65535, dtype=torch.float64) - 0.5
    assert relative_error(stft.istft(stft.stft(waves), 65535), waves) < 1e-12
