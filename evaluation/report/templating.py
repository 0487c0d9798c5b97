"""Load the templates of pages. Apart from what a page shows, so that a page of a training is written in no time."""

import functools
from pathlib import Path

import jinja2

from dataset.making.text import count_text

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache  # it keeps the templates that it has compiled, which takes .3 s
def template_environment() -> jinja2.Environment:
    """Load the templates; everything but this project's own files is escaped."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.globals["asset"] = lambda name: (TEMPLATES / name).read_text(encoding="utf-8")
    pages.filters |= {"minutes": format_duration, "thousands": lambda number: f"{number:,}", "counted": count_text}
    return pages


def format_duration(seconds: float) -> str:
    """Format `seconds` for people: "43 s", "2 min 5 s", "3 h 10 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
