"""report.html: a page that shows what a net has learned, with images and sounds; it opens from disk.

It needs no network and no server: style and script are in the page, images and sounds in OUT/report.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from evaluation.measures.retrieval import DIRECTIONS, RETRIEVAL
from evaluation.report.class_tables import class_tables
from evaluation.report.curves import run_charts
from evaluation.report.embedding_map import EmbeddingMap, map_embeddings
from evaluation.report.galleries import MARKS, GalleryRow, retrieval_galleries
from evaluation.report.heatmaps import enlarge_maps
from evaluation.report.media_files import clear_media_folder, write_clip, write_map
from evaluation.report.page_content import PageClips, PageContent, PageMaps, RunInfo
from evaluation.report.ranked_maps import RankedMaps, rank_heatmaps
from evaluation.report.rows import headlines, metric_rows, reference_names, section_meanings, section_titles
from evaluation.report.selection import first_of_each_class
from evaluation.report.separation_examples import separation_examples
from evaluation.report.templating import template_environment
from utils.errors import UserError
from utils.files import write_text

MEDIA = "report"  # folder of the media, next to report.html
CROSS_CLIPS = 6  # frames and sounds of the matrix of pairs
MAP_SIDE = 96  # of a map's image, pixels: the browser enlarges it smoothly
NO_CONTENT = PageContent()


# Thousands of small jobs: on busy cores, threads that wait for each other would take ten times as long.
@threadpool_limits.wrap(limits=1)
def write_report(out: Path, metrics: dict[str, Any], run: RunInfo, content: PageContent = NO_CONTENT) -> Path:
    """Write OUT/report.html and the media that it shows.

    An earlier page is removed first and the new one is written last: an interruption never leaves a page with the
    media of another evaluation.

    Args:
        out: folder of the evaluation.
        metrics: content of metrics.json.
        run: the run that trained the net.
        content: what is shown in addition to the measures.

    Returns:
        The path of the page.

    Raises:
        UserError: it can't be written.
    """
    page = Path(out) / "report.html"
    try:
        page.unlink(missing_ok=True)
        write_text(page, _render(page.parent, metrics, run, content))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"the page {page} can't be written ({reason}): free some space, or choose another --out"
        ) from None
    return page


def _render(out: Path, metrics: dict[str, Any], run: RunInfo, content: PageContent) -> str:
    """Choose what the page shows, write the media, and fill the template."""
    clips, retrieval, maps = content.clips, content.retrieval, content.maps
    galleries: dict[str, list[GalleryRow]] = {}
    embedding_map = ranked = None
    matrix: list[int] = []
    if clips and retrieval:
        galleries = retrieval_galleries(retrieval, clips.labels)
        embedding_map = map_embeddings(retrieval.v, retrieval.a, clips)
    if clips and maps:
        ranked = rank_heatmaps(maps.logits, maps.boxes)
        matrix = first_of_each_class(clips.labels, CROSS_CLIPS) if maps.cross_logits else []

    folder = clear_media_folder(out / MEDIA)
    shown = _shown_clips(galleries, embedding_map, ranked, matrix)
    views = {k: write_clip_view(folder, k, clips) for k in shown} if clips else {}
    if maps and ranked:
        _write_maps(folder, maps, ranked, matrix)

    rows = metric_rows(metrics)
    return template_environment().get_template("report.html").render(
        metrics=metrics, run=run, duration=run_duration(run.log), charts=run_charts(run.log),
        pretrained=any(setting.name == "model.init_from" for setting in run.changed),
        rows=rows, references=reference_names, sections=section_titles(), meanings=section_meanings(),
        headlines=headlines(rows),
        names=RETRIEVAL.groups, directions=DIRECTIONS, views=views, marks=MARKS, galleries=galleries,
        maps=maps, ranked=ranked, matrix=matrix, atlas=embedding_map,
        classes=class_tables(metrics, clips) if clips else None,
        pairs=separation_examples(out) if "separation" in metrics else [],
        data=json_block({k: [view.name, view.frame, view.sound] for k, view in views.items()}),
    )  # fmt: skip


@dataclass(frozen=True)
class ClipView:
    """What the page shows of a clip, with links to its media.

    Attributes:
        k: index of the clip.
        id: of the clip.
        name: its classes, or its id.
        frame, spectrogram: links to images.
        sound: link to an mp3, or None for a clip without sound.
    """

    k: int
    id: str
    name: str
    frame: str
    spectrogram: str
    sound: str | None


def write_clip_view(folder: Path, k: int, clips: PageClips) -> ClipView:
    """Write a clip's media.

    Args:
        folder: of the media, next to the page.
        k: index of the clip.
        clips: of the split.
    """
    files = write_clip(folder, k, clips.load_media(k))
    names = [clips.class_name(label) for label in clips.labels[k]]
    frame, spectrogram = f"{folder.name}/{files.frame}", f"{folder.name}/{files.spectrogram}"
    sound = f"{folder.name}/{files.sound}" if files.sound else None
    return ClipView(k, clips.ids[k], ", ".join(names) or clips.ids[k], frame, spectrogram, sound)


def _shown_clips(
    galleries: dict[str, list[GalleryRow]],
    embedding_map: EmbeddingMap | None,
    ranked: RankedMaps | None,
    matrix: list[int],
) -> list[int]:
    """The indices of all clips on the page, ascending."""
    shown = set(matrix)
    for row in (row for gallery in galleries.values() for row in gallery):
        shown |= {row.query, *(result.index for result in row.results)}
    if embedding_map:
        shown |= {point.k for point in embedding_map.points}
    if ranked:
        shown |= {one.index for part in ranked.parts.values() for one in part}
    return sorted(shown)


def _write_maps(folder: Path, maps: PageMaps, ranked: RankedMaps, matrix: list[int]) -> None:
    """Write the ranked maps, and the maps of each frame with each sound of the matrix."""
    logits = {f"map_{one.index}.png": maps.logits[one.index] for part in ranked.parts.values() for one in part}
    if matrix and maps.cross_logits:
        for i, row in enumerate(maps.cross_logits(matrix)):
            logits |= {f"cross_{i}_{j}.png": one for j, one in enumerate(row)}
    for name, one in logits.items():
        write_map(folder / name, enlarge_maps(one[None], MAP_SIDE, maps.mixed)[0])


def json_block(value: Any) -> str:
    """Convert `value` to JSON for a <script> element: nothing in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def run_duration(log: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Read how long a run has trained: the last line of its `log` with "step", "epoch", "seconds"; None without one."""
    lines = [line for line in log if "seconds" in line and "step" in line]
    return {"epoch": None} | lines[-1] if lines else None
