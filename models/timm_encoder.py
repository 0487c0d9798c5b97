"""Nets of timm (https://github.com/huggingface/pytorch-image-models) as encoders of frames and spectrograms."""

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError

# Frames are normalized by these constants of ImageNet (`dataset.transforms.frames`).
FRAME_MEAN, FRAME_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# {our name: timm's}: the published EfficientNet-Lite pads as TensorFlow does. timm's net without "tf_" is another one,
# which gives other features from the same weights.
PUBLISHED_NAMES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
STRIDE = "set model.vision_stride 0 for its own"


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
    import timm  # takes seconds: only where it is needed

    net = timm_name(name).split(".")[0]
    if timm.is_model(net):
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

    Raises:
        UserError: the net has no feature map, or doesn't offer the stride.
    """

    def __init__(self, name: str, in_channels: int = 3, stride: int = 0) -> None:
        super().__init__()
        self.name = name
        self.net = _create(name, in_channels, stride)
        last = self.net.feature_info[-1]
        self.channels: int = last.get("num_chs_norm", last["num_chs"])
        if stride and last["reduction"] != stride:
            raise UserError(f"{name} has no feature map of stride {stride}, only of {last['reduction']}: {STRIDE}")
        mean, std = (torch.tensor(self.net.pretrained_cfg[key]) for key in ("mean", "std"))
        frame_mean, frame_std = torch.tensor(FRAME_MEAN), torch.tensor(FRAME_STD)
        self.renormalizes = in_channels == 3 and not (mean.equal(frame_mean) and std.equal(frame_std))
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (frame_std / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((frame_mean - mean) / std)[:, None, None], persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode `inputs`, (B, in_channels, H, W) -> (B, channels, H / stride, W / stride), rounded up."""
        if self.renormalizes:
            inputs = inputs * self.scale + self.shift
        return self.net.forward_intermediates(inputs, indices=1, norm=True, intermediates_only=True)[-1]


def _create(name: str, in_channels: int, stride: int) -> Any:
    """Create a net of timm with random weights, without its head and whatever follows the last feature map."""
    import timm

    options: dict[str, Any] = {"num_classes": 0, "in_chans": in_channels}
    if stride:
        options["output_stride"] = stride
    net: Any = None
    sizes: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {})
    for size in sizes:  # vision transformers take images of any size only if asked
        try:
            net = timm.create_model(timm_name(name), **options, **size)
            break
        except (TypeError, AssertionError, NotImplementedError, ValueError):
            continue
    if net is None:
        raise UserError(f"timm can't build {name} with feature maps of stride {stride}: {STRIDE}")
    if not hasattr(net, "forward_intermediates") or not getattr(net, "feature_info", None):
        raise UserError(f"{name} gives no feature maps: take another encoder (model.vision)")
    net.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
    return net
