"""The names of the nets, groups of them, and how a setting is declared. Standard library only."""

from dataclasses import field
from typing import Literal, TypeVar, get_args

NetName = Literal["AVENet", "AVENet_MF", "AVENet_OF", "AVOLNet", "L3Net", "PixelPlayer"]
NETS: tuple[str, ...] = get_args(NetName)
AVC_NETS = ("AVENet", "AVENet_MF", "AVENet_OF", "AVOLNet", "L3Net")  # trained on audio-visual correspondence alone
AVENET_MF, AVENET_OF, AVOLNET, PIXELPLAYER = ("AVENet_MF",), ("AVENet_OF",), ("AVOLNet",), ("PixelPlayer",)
AVENETS = ("AVENet", *AVENET_MF, *AVENET_OF)  # which compare by the distance of two vectors
COMPARING = (*AVENETS, *AVOLNET)  # whose vectors of frames and sounds can be compared
ONE_FRAME = ("AVENet", "AVOLNet", "L3Net", "PixelPlayer")  # whose encoder sees one frame at a time
SOUND_ENCODER = ("AVENet", "AVOLNet", "L3Net")  # whose encoder of spectrograms can be replaced
FEATURE_NETS = ("AVENet", "AVOLNet", "L3Net", "PixelPlayer")  # whose frozen encoder's features can be kept
MOMENT_NETS = ("AVENet", "AVOLNet", "L3Net")  # of which several moments of a clip can count as one
TRAIN_SCRIPTS = dict.fromkeys(AVC_NETS, "train_AVENet.py") | {
    "AVOLNet": "train_VOLNet.py",
    "PixelPlayer": "train_PixelPlayer.py",
}

T = TypeVar("T")


def setting(default: T, doc: str, nets: tuple[str, ...] = NETS) -> T:
    """Declare a setting: a dataclass field with its documentation and its nets.

    Args:
        default: value where a config gives none.
        doc: what `--help` prints.
        nets: names of the nets that read it; for other nets it is refused and not stored.
    """
    return field(default=default, metadata={"doc": doc, "nets": nets})
