"""Nets of timm (https://github.com/huggingface/pytorch-image-models) as encoders of frames and spectrograms."""

import difflib
import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.stages import FirstStages, divide, run_layers
from utils.errors import UserError

# Frames are normalized by these constants of ImageNet (`dataset.transforms.frames`).
FRAME_MEAN, FRAME_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# {our name: timm's}: the published EfficientNet-Lite pads as TensorFlow does. timm's net without "tf_" is another one,
# which gives other features from the same weights.
PUBLISHED_NAMES = {f"efficientnet_lite{size}": f"tf_efficientnet_lite{size}" for size in range(3)}
STRIDES = (8, 16, 32)
# Options of nets that take inputs of any size only if asked: vision transformers; Swin transformers.
INPUT_SIZES: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


@contextmanager
def quiet_timm() -> Iterator[None]:
    """Run without timm's warnings and log, which are for programmers: what is wrong becomes a message of ours."""
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def timm_name(name: str) -> str:
    """Translate an encoder's `name`, which may end with a tag of weights (`resnet50.a1_in1k`), to timm's."""
    return PUBLISHED_NAMES.get(name, name)


def check_name(setting: str, name: str, own: list[str]) -> None:
    """Check that timm has a net.

    Args:
        setting: which names it, for the message.
        name: of the net.
        own: names of encoders that aren't timm's, for the message.

    Raises:
        UserError: there is none; the message lists the nearest names.
    """
    try:
        import timm  # takes seconds: only where it is needed
    except ImportError as error:
        raise UserError(
            f"{setting} {name[:80]} is a net of timm, which can't be imported ({error}): install it with `pip install "
            "timm`"
        ) from None
    net, _, tag = timm_name(name).partition(".")
    if timm.is_model(net):
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{net}.*")]
        if tag and tag not in tags:
            raise UserError(f"{setting} {name[:80]}: timm has no weights {tag[:40]!r} of {net}, but {', '.join(tags)}")
        return
    near = difflib.get_close_matches(name.lower(), [*own, *timm.list_models(), *PUBLISHED_NAMES], 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"give {', '.join(own)} or a net of timm"
    raise UserError(f"there is no encoder {name[:80]!r}: {hint} ({setting})")


class TimmEncoder(nn.Module):
    """The last feature map of a net of timm, without its classifier, with random weights.

    Args:
        name: of the net, such as "resnet50", "efficientnet_lite0" or "vit_small_patch14_dinov2".
        in_channels: 3 for normalized frames, which are normalized anew as the net was trained; 1 for spectrograms.
        stride: of the feature map, pixels: 8, 16 or 32, by dilation where the net's own is larger; 0 for its own.

    Attributes:
        name: the argument.
        channels: of the feature map.
        origin: where the names of its weights come from, for messages.
        frozen_stages: number of first stages that `freeze_first_stages` has frozen.

    Raises:
        UserError: the net has no feature map, or doesn't offer the stride.
    """

    def __init__(self, name: str, in_channels: int = 3, stride: int = 0) -> None:
        super().__init__()
        import timm

        net = _create(name, in_channels, stride)
        if net is None:
            offered = [str(one) for one in STRIDES if one != stride and _offers(name, in_channels, one)]
            raise UserError(
                f"model.vision_stride must be {' or '.join(['0', *offered])} with model.vision {name}, and is {stride}"
            )
        if not hasattr(net, "forward_intermediates") or not getattr(net, "feature_info", None):
            setting = "model.vision" if in_channels == 3 else "model.sound"
            raise UserError(f"{name} gives no feature maps: take another encoder ({setting})")
        self.name, self.net = name, net
        self.origin = f"{name} of timm {timm.__version__}"
        self.frozen_stages = 0
        self.frozen_channels = 0  # of the map of the last frozen stage
        net.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
        last = net.feature_info[-1]
        self.channels: int = last.get("num_chs_norm", last["num_chs"])
        trained_on = tuple(net.pretrained_cfg["mean"]), tuple(net.pretrained_cfg["std"])
        self.renormalizes = in_channels == 3 and trained_on != (FRAME_MEAN, FRAME_STD)
        self.scale: Tensor
        self.shift: Tensor
        frame_mean, frame_std, mean, std = (
            torch.tensor(one)[:, None, None] for one in (FRAME_MEAN, FRAME_STD, *trained_on)
        )
        self.register_buffer("scale", frame_std / std, persistent=False)
        self.register_buffer("shift", (frame_mean - mean) / std, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode `inputs`, (B, in_channels, H, W) -> (B, channels, H / stride, W / stride), rounded up.

        They may also be maps of the last frozen stage, as `first_stages` gives them.
        """
        if self.frozen_stages and inputs.shape[1] == self.frozen_channels:
            return run_layers(divide(self.net)[1][self.frozen_stages :], inputs)
        return self.net.forward_intermediates(self._prepare(inputs), indices=1, norm=True, intermediates_only=True)[-1]

    def _prepare(self, inputs: Tensor) -> Tensor:
        """Normalize frames as the net was trained."""
        return inputs * self.scale + self.shift if self.renormalizes else inputs

    def freeze_first_stages(self, tuned: int) -> None:
        """Freeze all but the last stages: training leaves them as they are.

        Args:
            tuned: number of last stages that training changes, 1 or more.

        Raises:
            UserError: the net has no stages that are known, or has not as many.
        """
        before, stages = divide(self.net)
        sample = torch.linspace(-2, 2, 3 * 64 * 64, device=self.scale.device).view(1, 3, 64, 64)
        training = self.training
        self.eval()
        with torch.no_grad():
            wanted = self(sample)
            if stages and not torch.allclose(run_layers([*before, *stages], self._prepare(sample)), wanted, 1e-3, 1e-3):
                stages = []  # it has layers of other names too
            if not 0 < tuned < len(stages):
                most, why = len(stages) - 1, ""
                if not stages:
                    most, why = 0, ": only EfficientNets, MobileNets and ResNets can be divided into stages"
                raise UserError(
                    f"train.tuned_stages must be at most {most} with model.vision {self.name}, and is {tuned}{why}"
                )
            frozen = run_layers([*before, *stages[:-tuned]], sample)
        self.train(training)
        self.requires_grad_(False)
        for stage in stages[-tuned:]:
            stage.requires_grad_(True)
        self.frozen_stages, self.frozen_channels = len(stages) - tuned, frozen.shape[1]
        if self.frozen_channels == self.channels:
            raise UserError(
                f"train.tuned_stages must not be {tuned} with model.vision {self.name}, whose last frozen map has "
                "as many channels as the last one: set another number"
            )

    def first_stages(self) -> FirstStages:
        """Get the layers up to the last frozen stage: normalized frames -> maps that `forward` takes in their place."""
        before, stages = divide(self.net)
        scaled = [_Renormalization(self)] if self.renormalizes else []
        return FirstStages([*scaled, *before, *stages[: self.frozen_stages]], self.frozen_channels)


class _Renormalization(nn.Module):
    """Normalizes frames as an encoder's net was trained."""

    def __init__(self, encoder: TimmEncoder) -> None:
        super().__init__()
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", encoder.scale, persistent=False)
        self.register_buffer("shift", encoder.shift, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalize `inputs`, (B, 3, H, W)."""
        return inputs * self.scale + self.shift


def _create(name: str, in_channels: int, stride: int) -> Any:
    """Create a net of timm with random weights, without its classifier; None if it doesn't offer the stride."""
    import timm

    strides: list[dict[str, Any]] = [{"output_stride": stride}, {}] if stride else [{}]
    for wanted, size in itertools.product(strides, INPUT_SIZES):
        try:
            with quiet_timm():
                net = timm.create_model(timm_name(name), num_classes=0, in_chans=in_channels, **wanted, **size)
        except (TypeError, AssertionError, NotImplementedError, ValueError, RuntimeError):
            continue
        info = getattr(net, "feature_info", None)
        if not stride or not info or info[-1]["reduction"] == stride:
            return net
    if not stride:
        setting = "model.vision" if in_channels == 3 else "model.sound"
        raise UserError(f"timm can't build {name}: take another encoder ({setting})")
    return None


def _offers(name: str, in_channels: int, stride: int) -> bool:
    """Whether a net of timm has feature maps of a stride."""
    with torch.device("meta"):
        return _create(name, in_channels, stride) is not None
