"""The twelve classes of the demo data: their AudioSet ids, how they are drawn and synthesized, their ranges."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.demo_clips.draw_keyboards import draw_accordion, draw_piano
from data.demo_clips.draw_percussion import draw_bell, draw_cymbal, draw_drum, draw_marimba
from data.demo_clips.draw_strings import draw_banjo, draw_guitar, draw_violin
from data.demo_clips.draw_winds import draw_flute, draw_saxophone, draw_trumpet
from data.demo_clips.pen import Pen
from data.demo_clips.voices import (
    Note,
    voice_accordion,
    voice_banjo,
    voice_bell,
    voice_cymbal,
    voice_drum,
    voice_flute,
    voice_guitar,
    voice_marimba,
    voice_piano,
    voice_saxophone,
    voice_trumpet,
    voice_violin,
)


class Instrument(NamedTuple):
    """One class of the demo.

    Attributes:
        name: AudioSet's display name.
        mid: AudioSet's id.
        draw: draws one instrument with a pen, varied by a random generator.
        voice: (random generator, sample rate in Hz) -> the function that plays its notes.
        register: lowest and highest note, Hz.
        beat: shortest and longest note, seconds.
        turn: least and largest rotation, degrees, to either side.
    """

    name: str
    mid: str
    draw: Callable[[Pen, np.random.Generator], None]
    voice: Callable[[np.random.Generator, int], Note]
    register: tuple[float, float]
    beat: tuple[float, float]
    turn: tuple[float, float]


CLASSES = [
    Instrument("Violin, fiddle", "/m/07y_7", draw_violin, voice_violin, (200, 1300), (0.2, 0.7), (0, 50)),
    Instrument("Acoustic guitar", "/m/042v_gx", draw_guitar, voice_guitar, (90, 660), (0.14, 0.4), (0, 60)),
    Instrument("Banjo", "/m/018j2", draw_banjo, voice_banjo, (150, 800), (0.09, 0.22), (0, 60)),
    Instrument("Trumpet", "/m/07gql", draw_trumpet, voice_trumpet, (170, 900), (0.12, 0.6), (0, 25)),
    Instrument("Saxophone", "/m/06ncr", draw_saxophone, voice_saxophone, (110, 620), (0.14, 0.6), (0, 20)),
    Instrument("Flute", "/m/0l14j_", draw_flute, voice_flute, (270, 1700), (0.14, 0.6), (22, 60)),
    Instrument("Piano", "/m/05r5c", draw_piano, voice_piano, (80, 1100), (0.14, 0.4), (0, 6)),
    Instrument("Accordion", "/m/0mkg", draw_accordion, voice_accordion, (150, 800), (0.2, 0.7), (0, 18)),
    Instrument("Drum", "/m/026t6", draw_drum, voice_drum, (60, 170), (0.1, 0.26), (0, 10)),
    Instrument("Cymbal", "/m/01qbl", draw_cymbal, voice_cymbal, (400, 800), (0.18, 0.6), (0, 6)),
    Instrument("Bell", "/m/0395lw", draw_bell, voice_bell, (280, 1200), (0.25, 0.7), (0, 22)),
    Instrument("Marimba, xylophone", "/m/0dwsp", draw_marimba, voice_marimba, (140, 1100), (0.1, 0.25), (0, 14)),
]

WORDS = [instrument.name.split(",")[0].split()[-1].lower() for instrument in CLASSES]  # names in one word
