"""The rows of the paper's Table 1 beside a net's own: features of L3-Net or VGG16, as they are or aligned by a CCA."""

import dataclasses

from evaluation.measures import cca, retrieval
from evaluation.tasks.embeddings import embed_split, open_eval_split, retrieval_vectors

BASELINES = ("cca", "vgg16", "vgg16+cca")


def baseline_retrieval(names, model, config, split, vectors, judge, vgg16="imagenet"):
    """Retrieval by the named baselines: {name: directions of `evaluation.measures.retrieval.four_directions`}.

    Args:
        names: of BASELINES. model, config: the net, on its device, and its `Config`. split: the measured one.
        vectors: the net's (v, a) on it, arrays. judge: further arguments of `four_directions`.
        vgg16: file of VGG16's weights, or "imagenet" to download them.
    """
    rows = {}
    if "cca" in names:
        rows["cca"] = _aligned(model, config, vectors, judge)
    if "vgg16" in names or "vgg16+cca" in names:
        from models.vgg import (
            ReplacedFrames,
            vgg16_features,  # torchvision takes seconds to import
        )

        net = ReplacedFrames(vgg16_features(vgg16), model).to(next(model.parameters()).device)
        one_frame = {"frame_size": 224, "resize_size": 256, "frames": 1, "flow": "none"}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **one_frame))
        vectors = retrieval_vectors(net, embed_split(net, config, *open_eval_split(config, split)))
        if "vgg16" in names:
            rows["vgg16"] = {"im-im": retrieval.four_directions(vectors[0], vectors[0], *judge)["im-im"]}
        if "vgg16+cca" in names:
            rows["vgg16+cca"] = _aligned(net, config, vectors, judge)
    return rows


def _aligned(model, config, vectors, judge):
    """The row of a CCA fitted on the train split's vectors, and its number of components."""
    fitted = cca.fit_cca(*retrieval_vectors(model, embed_split(model, config, *open_eval_split(config, "train"))))
    return retrieval.four_directions(*cca.project_cca(fitted, *vectors), *judge) | {
        "components": len(fitted.correlations)
    }
