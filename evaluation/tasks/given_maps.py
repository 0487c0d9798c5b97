"""Measure localization maps that another program wrote, as the task "localization" does those of a net."""

from typing import Any

import numpy as np
import torch

from dataset.reading.benchmarks.benchmark import Benchmark
from evaluation.measures.localization import frame_table
from evaluation.report.page_content import PageMaps
from evaluation.tasks.localization import annotations, draw_maps, write_frame_table
from evaluation.tasks.task import EvalContext, TaskResult
from models.object_maps import scale_maps


def measure_given_maps(context: EvalContext, maps: np.ndarray) -> TaskResult:
    """Measure maps against annotated objects, and draw them: the section "localization"; writes localization.csv.

    Args:
        context: of the evaluation; its `given` lists the clips.
        maps: (N, h, w) float32 of their frames, of any range.
    """
    boxes, annotated, notes = annotations(context)
    metrics: dict[str, Any] = {}
    if annotated.frames:
        metrics["localization"], data = annotated.measure(maps)
        write_frame_table(context, annotated, frame_table(data))
        notes += ("maps for sounds that are not in the frame are not known, so negative sounds are not measured",)
    if isinstance(context.data.clips, Benchmark) and context.data.clips.has_masks:
        notes += ("which value of the maps is a probability of a half is not known, so masks are not measured",)
    shown = scale_maps(torch.from_numpy(maps)).numpy()
    draw_maps(context, shown, boxes, mixed=True)
    return context.embedding_result(metrics, maps=PageMaps(shown, boxes, None, mixed=True), notes=notes)
