"""Measure encoders of frames on one core of this processor: the table of encoders.md.

    python -m docs.encoders                       # some minutes
    python -m docs.encoders resnet50:224          # any encoder and size of frames

Batches of 8 frames in float32, random weights, one thread, the median of five.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from configs.schema import Config, Data, Model
from models import build_net
from models.interfaces import Encoder
from models.size import activation_bytes, input_shapes

DEFAULT = (
    "convnet:112", "convnet:224", "resnet18:224", "efficientnet_lite0:160", "efficientnet_lite0:224",
    "convnext_atto:224", "resnet50:224", "vit_small_patch14_dinov2:224",
)  # fmt: skip
FRAMES = 8


def main() -> None:
    """Print a line for each encoder and size of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=DEFAULT, metavar="NAME:PIXELS", help="encoders to measure")
    encoders = parser.parse_args().encoders
    torch.set_num_threads(1)
    print("| encoder | frames | map | weights | embed a frame | train on a frame | kept for gradients |")
    print("|---|---|---|---|---|---|---|")
    for name, _, pixels in (encoder.partition(":") for encoder in encoders):
        side = int(pixels or 224)
        config = Config(data=Data(frame_size=side, resize_size=side), model=Model(vision=name))
        net = build_net(config.model).eval()
        encoder: Encoder = net.get_submodule("vision")  # type: ignore[assignment]
        frames = torch.randn(FRAMES, 3, side, side)
        with torch.no_grad():
            channels, rows, columns = encoder(frames).shape[1:]
            embed = seconds(partial(encoder, frames))
        train = seconds(partial(forward_and_backward, encoder, frames))
        with torch.device("meta"):
            shapes: nn.Module = build_net(config.model)
            shapes.audio = nn.Identity()  # which keeps nothing
        kept = 2 * activation_bytes(shapes, *input_shapes(config))  # counted in half precision
        megabytes = sum(weight.nbytes for weight in net.get_submodule("vision").parameters()) / 1e6
        print(
            f"| `{name}` | {side} px | {rows} x {columns} x {channels:,} | {megabytes:.0f} MB | {1000 * embed:.0f} ms "
            f"| {1000 * train:.0f} ms | {kept / 1e6:.0f} MB |",
            flush=True,
        )


def forward_and_backward(encoder: Encoder, frames: Tensor) -> None:
    """Compute the gradients of an `encoder` for `frames`, (B, 3, H, W), of a sum as loss."""
    encoder(frames).sum().backward()


def seconds(run: Callable[[], object]) -> float:
    """Get the time that `run` takes for a frame, seconds."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) / FRAMES)
    return statistics.median(times)


if __name__ == "__main__":
    main()
