"""Task "probe": a linear classifier on the features of a net's encoders.

The features are the output of each encoder's global max pool, before fc1 (8 * width values). They are the same in all
nets, AVOL-Net with its maps too, and show what the encoders learned, whatever the head does with it. On the demo
AVE-Net, the 128 values after fc2 gave the same mAP of the frames, .974.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dataset.making.text import count_text
from evaluation.measures.probe import linear_probe, shared_classes
from evaluation.tasks.embeddings import SplitEmbeddings, embed_split, open_eval_split
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models import build_net
from models.interfaces import Encoder, Net
from models.layers import global_max_pool
from utils.errors import UserError


@runtime_checkable
class TwoEncoderNet(Net, Protocol):
    """A net with an encoder of frames and one of spectrograms.

    Attributes:
        vision: encoder of the frames.
        audio: encoder of the spectrograms.
    """

    vision: Encoder
    audio: Encoder

    def flip_frames(self, frames: Tensor) -> Tensor:
        """Mirror `frames`, in the shape that `vision` takes."""
        ...


class PooledFeatures(nn.Module):
    """The pooled features of a net's encoders, as a `models.interfaces.FrameSoundEncoder`.

    Args:
        net: has the encoders.
    """

    def __init__(self, net: TwoEncoderNet) -> None:
        super().__init__()
        self.net = net

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Max-pool the features of `frames`: (B, 3, H, W) -> (B, 8 * width) float32."""
        return global_max_pool(self.net.vision(frames))

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average the features of `frames` and of their mirror images: (B, 3, H, W) -> (B, 8 * width)."""
        return (self.embed_frames(frames) + self.embed_frames(self.net.flip_frames(frames))) / 2

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Max-pool the features of `spectrograms`: (B, 1, F, T) -> (B, 8 * width) float32."""
        return global_max_pool(self.net.audio(spectrograms))

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Return the features `v` as they are: they are not normalized."""
        return v

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Return the features `a` as they are: they are not normalized."""
        return a


class ProbeTask:
    """mAP and top-1 accuracy of a linear probe, for every net with two encoders."""

    name = "probe"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` has an encoder of frames and one of sounds."""
        return isinstance(model, TwoEncoderNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Fit on the train split, choose the regularization on val, measure the split of `context`: section "probe"."""
        net, data = context.net, {name: open_eval_split(context.config, name) for name in ("train", "val")}
        data["test"] = context.data
        measures: dict[str, Any] = {}
        unreadable: dict[str, str] = {}
        for name, model in probed_models(net, context.options.untrained).items():
            train, val, test = (embed_split(model, net.config, data[part]) for part in ("train", "val", "test"))
            if len(shared_classes(train.labels, test.labels)) < 2:
                note = f"the train and {context.split} splits share fewer than 2 classes, so the probe is not measured"
                return TaskResult({}, len(test), test.skipped, notes=(note,))
            labelled = [sum(map(bool, part.labels)) for part in (train, test)]
            counts = {"train_clips": labelled[0], "test_clips": labelled[1], "unlabelled": len(test) - labelled[1]}
            rows = counts | _probe_embeddings(train, val, test)
            measures |= {name: rows} if name else rows
            unreadable |= train.skipped | val.skipped
        return TaskResult({"probe": measures}, len(test), test.skipped, notes=unreadable_notes(unreadable))


def unreadable_notes(skipped: dict[str, str]) -> tuple[str, ...]:
    """Say how many clips of train and val could not be read, if any.

    Args:
        skipped: {id: reason} of them.
    """
    if not skipped:
        return ()
    clips = count_text(len(skipped), "clip")
    return (f"fitting leaves out {clips} of train and val that can't be read, such as {min(skipped)}",)


def _probe_embeddings(train: SplitEmbeddings, val: SplitEmbeddings, test: SplitEmbeddings) -> dict[str, Any]:
    """The measures of `linear_probe` for the features of the sounds and for those of the frames."""
    return {
        "audio": linear_probe(
            train.a.numpy(), train.labels, test.a.numpy(), test.labels, chooser=(val.a.numpy(), val.labels)
        ),
        "vision": linear_probe(
            train.v.numpy(), train.labels, test.v.numpy(), test.labels, chooser=(val.v.numpy(), val.labels)
        ),
    }


def probed_models(net: TrainedNet, untrained: bool) -> dict[str, PooledFeatures]:
    """Get the encoders to probe.

    Args:
        net: the trained net.
        untrained: also those of a net with fresh weights.

    Returns:
        {"": the trained net's}, and "untrained"; the keys are those of metrics.json.

    Raises:
        UserError: the net has no two encoders.
    """
    if not isinstance(net.model, TwoEncoderNet):
        raise UserError(
            f"{net.config.model.name} has no encoders of single frames and sounds to probe: leave out --tasks probe"
        )
    models = {"": PooledFeatures(net.model).eval()}
    if untrained:
        torch.manual_seed(0)
        config = net.config
        fresh = build_net(config.model, config.data.flow_fields, config.train.similarity).to(net.device)
        assert isinstance(fresh, TwoEncoderNet)
        models["untrained"] = PooledFeatures(fresh).eval()
    return models
