"""The rows of the paper's Table 1 beside a net's own: features of L3-Net or VGG16, as they are or aligned by a CCA."""

import dataclasses

from evaluation.embeddings import open_split, see
from utils import cca, retrieval

BASELINES = ("cca", "vgg16", "vgg16+cca")


def retrieval_rows(names, model, config, split, vectors, judge, vgg16="imagenet"):
    """Retrieval by the named baselines: {name: directions of `utils.retrieval.four_directions`}.

    Args:
        names: of BASELINES. model, config: the net, on its device, and its `Config`. split: the measured one.
        vectors: the net's (v, a) on it, arrays. judge: further arguments of `four_directions`.
        vgg16: file of VGG16's weights, or "imagenet" to download them.
    """
    rows = {}
    if "cca" in names:
        rows["cca"] = _aligned(model, config, vectors, judge)
    if "vgg16" in names or "vgg16+cca" in names:
        from models.vgg import FramesBeside, vgg16_features  # torchvision takes seconds to import

        net = FramesBeside(vgg16_features(vgg16), model).to(next(model.parameters()).device)
        one_frame = {"frame_size": 224, "stored_size": 256, "frames": 1, "flow": "none"}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **one_frame))
        vectors = arrays(net, see(net, config, *open_split(config, split)))
        if "vgg16" in names:
            rows["vgg16"] = {"im-im": retrieval.four_directions(vectors[0], vectors[0], *judge)["im-im"]}
        if "vgg16+cca" in names:
            rows["vgg16+cca"] = _aligned(net, config, vectors, judge)
    return rows


def arrays(model, seen):
    """What retrieval compares: (N, D) float32 vectors of a `Seen`'s frames and of its sounds."""
    return [side.numpy() for side in model.vectors(seen.v, seen.a)]


def _aligned(model, config, vectors, judge):
    """The row of a CCA fitted on the train split's vectors, and its number of components."""
    fitted = cca.fit(*arrays(model, see(model, config, *open_split(config, "train"))))
    return retrieval.four_directions(*cca.project(fitted, *vectors), *judge) | {"components": len(fitted.correlations)}
