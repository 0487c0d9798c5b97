"""The settings of the evaluation: the section Eval of `configs.schema.Config`. Standard library only."""

from dataclasses import dataclass
from typing import Literal

from configs.nets import AVC_NETS, AVOLNET, PIXELPLAYER, setting


@dataclass(frozen=True)
class Eval:
    """The evaluation."""

    ontology: str = setting(
        "", "path of AudioSet's ontology.json; empty: data/data_infos/ontology.json, else the demo's classes"
    )
    batch_size: int = setting(64, "clips in a forward pass")
    flip_tta: bool = setting(
        False, "test-time augmentation: average over a frame and its horizontal flip (OtS and SoP: no)"
    )
    k: int = setting(30, "nDCG@k is computed on the first k retrieved clips (OtS sec. 4.2: 30)", AVC_NETS)
    gain: Literal["exponential", "linear"] = setting(
        "exponential", "gain of relevance r in nDCG; exponential: 2^r - 1; linear: r", AVC_NETS
    )
    full_ranking: bool = setting(
        True,
        "rank the whole collection, for median rank and mAP; false: nDCG and recall only, in half of the time",
        AVC_NETS,
    )
    queries: int = setting(
        0,
        "clips used as retrieval queries, a fixed random choice; 0: every clip (OtS), or 4,000 of more than 20,000",
        AVC_NETS,
    )
    object_weight: float = setting(
        0.0,
        "weight of the object map in the map for a sound; 0: the map alone (OtS). The object map is what the encoder "
        "of the frames finds striking without the sound (EZ-VSL)",
        AVOLNET,
    )
    softmax_masks: bool = setting(
        False,
        "divide each bin of a mixture among its sources by a softmax over their masks' logits, for mixtures of nothing "
        "but sources whose frames are known; false: each mask is a sigmoid of its own (SoP)",
        PIXELPLAYER,
    )
    group: int = setting(
        256, "AVC is evaluated on all pairs within fixed random groups of at most this many clips", AVC_NETS
    )
