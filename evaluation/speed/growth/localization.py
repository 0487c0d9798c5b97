"""How localization by boxes grows with the number of frames: maps of 14 x 14 judged at 224 pixels."""

import numpy as np

from dataset.reading.annotations import Box
from evaluation.measures.localization import box_measures
from evaluation.speed.growth.resource_use import measure_use

MAP_SIZE, FRAME_SIZE = 14, 224  # pixels
WARM_UP = 10  # frames: the first ones load code


def measure(size: int) -> dict[str, float]:
    """Measure the maps of made-up frames, each with a sounding object and a silent one.

    Args:
        size: frames.

    Returns:
        "cpu_seconds", "peak_mb" (see `measure_use`).
    """
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((size, MAP_SIZE, MAP_SIZE), np.float32)
    corners = np.sort(rng.uniform(0, 1, (size, 2, 2, 2)), axis=2).reshape(size, 2, 4)
    boxes = [
        [Box(time=0.0, box=box, label="", sounding=k == 0) for k, box in enumerate(pair)] for pair in corners.tolist()
    ]
    box_measures(maps[:WARM_UP], boxes[:WARM_UP], FRAME_SIZE)
    with measure_use() as use:
        box_measures(maps, boxes, FRAME_SIZE)
    return use
