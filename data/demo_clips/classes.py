"""The twelve classes of the demo data: which AudioSet class each is, how it looks, how it sounds, where it lives."""

from collections.abc import Callable
from typing import NamedTuple

from data.demo_clips.looks import (
    draw_accordion,
    draw_banjo,
    draw_bell,
    draw_cymbal,
    draw_drum,
    draw_flute,
    draw_guitar,
    draw_marimba,
    draw_piano,
    draw_saxophone,
    draw_trumpet,
    draw_violin,
)
from data.demo_clips.voices import (
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
    """One class: AudioSet name and machine id, how to draw it and to voice it, and the ranges it lives in."""

    name: str
    mid: str
    draw: Callable  # draw(pen, rng)
    voice: Callable  # voice(rng, rate) -> note(hz, seconds, force)
    register: tuple[float, float]  # lowest and highest note, Hz
    beat: tuple[float, float]  # shortest and longest note, seconds
    turn: tuple[float, float]  # rotation, degrees either way


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
