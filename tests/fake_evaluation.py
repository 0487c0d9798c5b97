"""Evaluations on fake CUDA tensors, as `tests/fake_gpu.py` takes training steps: what waits for the GPU, and where."""

import importlib

import numpy as np
import torch
from fake_gpu import Waits, load_script, make_batch
from torch._subclasses.fake_tensor import FakeTensor

CLIPS, MIXTURES = 6, 20  # of a batch; mixtures take two batches
CHECKS = ("evaluation.tasks.embeddings", "evaluation.trained_net", "evaluation.tasks.separation")


def without_values():
    """Replace what needs values, all of it on the CPU: checks of results, and arrays of numpy."""
    for module in map(importlib.import_module, CHECKS):
        module.require_finite = lambda values, _: values
    kinds = {np.dtype("uint8"): torch.uint8, np.dtype("int16"): torch.int16, np.dtype("int64"): torch.int64}
    torch.from_numpy = lambda array: torch.zeros(array.shape, dtype=kinds.get(array.dtype, torch.float32))

    def numpy(tensor):
        assert tensor.device.type == "cpu"
        return np.zeros(tensor.shape, np.float32)

    torch.Tensor.numpy = FakeTensor.numpy = numpy


class Stages:
    """Runs parts of an evaluation and lists the waits of each, {part: [line of code: operator]}."""

    def __init__(self):
        self.waits, self.devices = {}, {}

    def run(self, name, work, *args):
        with torch.no_grad(), Waits() as waits:
            results = work(*args)
        self.waits[name] = waits.found
        tensors = results if isinstance(results, tuple) else (results,)
        self.devices[name] = sorted({one.device.type for one in tensors if isinstance(one, torch.Tensor)})
        return results


def evaluate_pairs(stages, config, model, batch):
    """Embed a batch, score its pairs, locate its sounds, as eval.py does."""
    from dataset.transforms.frames import PairTransform
    from evaluation.measures.correspondence import score_groups
    from evaluation.pair_scores import score_pairs
    from evaluation.tasks.embeddings import embed_batches
    from models.interfaces import LocalizingNet, ObjectMapNet
    from models.object_maps import location_maps

    transform, precision = PairTransform(config, train=False), config.train.precision
    with_objects = isinstance(model, ObjectMapNet)
    for name in ("first batch", "embed"):  # the first makes constants
        found = stages.run(name, embed_batches, model, [batch], transform, precision, True, with_objects)
    stages.run("frame vectors", model.frame_vectors, found.v)
    stages.run("sound vectors", model.sound_vectors, found.a)
    stages.run("pair scores", score_pairs, model.pair_logits, found.v, found.a, "cuda")
    on_gpu = [one.to("cuda") for one in (found.v, found.a)]
    stages.run("matching pairs", score_groups, model.pair_logits, *on_gpu)
    if isinstance(model, LocalizingNet):
        stages.run("maps", location_maps, model, found.v, found.a, found.objects, 0.5)


def evaluate_separation(stages, config, model, batch):
    """Compute the features of a batch and separate mixtures of its clips, as eval.py does."""
    from evaluation.mixture_separator import extract_clip_features, separate_mixtures

    batch["indices"] = Indices(range(CLIPS))
    for name in ("first batch", "features"):  # the first makes constants
        found = stages.run(name, extract_clip_features, model, config, [batch])
    mixtures = [[k % CLIPS, (k + 1) % CLIPS] for k in range(MIXTURES)]
    for k, part in enumerate(mixtures[start : start + 16] for start in (0, 16)):
        stages.run(f"separate {k}", lambda part=part: next(separate_mixtures(model, config, found, part)))


class Indices(list):
    """Numbers of clips, which a fake tensor can't hold."""

    def tolist(self):
        return list(self)


def use_trained_net(stages, config, model):
    """Use a net in the way of `TrainedNet`, on arrays."""
    from evaluation.trained_net import TrainedNet

    data, net = config.data, TrainedNet(model, config, {}, "net.pt")
    several = (data.frames,) if data.frames > 1 else ()
    if data.flow == "none":
        frames = np.zeros((CLIPS, *several, data.resize_size, data.resize_size, 3), np.uint8)
        v = stages.run("net.embed_frames", net.embed_frames, frames)
    else:
        v = model.embed_frames(torch.zeros(CLIPS, 3 + 2 * data.flow_fields, 224, 224, device="cuda")).cpu()
    a = stages.run("net.embed_sounds", net.embed_sounds, np.zeros((CLIPS, data.sample_rate), np.int16))
    stages.run("net.correspondence", net.correspondence, v, a)
    if v.ndim == 4 and config.model.name == "AVOLNet":
        stages.run("net.localize", net.localize, v, a)


def run_evaluation(case):
    """Evaluate a net that is as its script trains it.

    Returns:
        {"waits": {part: [line: operator]}, "devices": {part: those of the results}}.
    """
    without_values()
    got, stages = load_script(case), Stages()
    config, model = got["run"].config, got["model"].eval()
    batch = {name: value[:CLIPS] if torch.is_tensor(value) else value for name, value in make_batch(config).items()}
    if config.model.name == "PixelPlayer":
        evaluate_separation(stages, config, model, batch)
    else:
        evaluate_pairs(stages, config, model, batch)
        use_trained_net(stages, config, model)
    return {"waits": stages.waits, "devices": stages.devices}
