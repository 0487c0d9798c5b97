"""report.html: a page to look at and to listen to what a net learned, with its media beside it, opened from disk.

No network, no server: style and script are in the page, pictures and sounds in OUT/report/. Pure functions of what was
measured; evaluation/report/report_page.py brings nets and data.
"""

import json
from pathlib import Path

import jinja2
import numpy as np
from threadpoolctl import threadpool_limits

from evaluation.measures.localization import upsample
from evaluation.measures.retrieval import DIRECTIONS
from evaluation.report import curves, galleries, media_files
from evaluation.report.rows import DIRECTION_NAMES, MEANINGS, SECTIONS, metric_rows
from evaluation.report.separation_examples import separation_examples
from utils.errors import UserError
from utils.files import write_text

TEMPLATES = Path(__file__).parent / "templates"
MEDIA = "report"  # folder of the media beside report.html
NO_CLIPS = {"ids": (), "labels": (), "name": str}  # clips of a net that embeds none
# The figures of the first screen: those of these that were measured, four at most.
HEADLINES = {
    "localization.peak_accuracy": "finds what sounds", "separation.nsdr": "gain over the mixture, dB",
    "avc.accuracy": "tells pairs from mismatches", "retrieval.aud-im.ndcg": "sound to frame, nDCG",
    "retrieval.im-aud.ndcg": "frame to sound, nDCG", "localization.ciou@0.5": "cIoU of at least 0.5",
    "retrieval.im-im.ndcg": "frame to frame, nDCG", "separation.sir": "SIR, dB",
    "separation.nsdr_share_of_ideal": "of what ideal masks gain",
    "separation.swap_consistency": "worse with frames swapped",
}  # fmt: skip


# Thousands of small jobs: on busy cores, threads that wait for each other would take ten times as long.
@threadpool_limits.wrap(limits=1)
def write_report(out, metrics, run, clips=NO_CLIPS, sense=None, vectors=None, relevance=None, maps=None):
    """Write OUT/report.html and the media that it shows.

    An earlier page is taken away first and the new one written last: a kill leaves none, never one beside the media of
    another run.

    Args:
        out: Path of the evaluation's folder.
        metrics: content of metrics.json.
        run: {"changed": list of (name of a setting, value, default, documentation), "log": lines of log.jsonl}.
        clips: {"ids": N of str, "labels": N lists of mids, "name": callable (mid) -> display name}; with them
        sense: callable (k) -> frame (S, S, 3) uint8, log spectrogram (F, T), sound (samples,) int16, its rate in Hz.
        vectors: (v, a), (N, D) float32 each, what retrieval compares; with relevance, a callable (i, j) -> 0..20.
        maps: {"logits": (N, h, w), "entries": N lists of boxes, "cross": callable (K places) -> (K, K, h, w) logits}.

    Returns:
        Path of the page.

    Raises:
        UserError: it can't be written.
    """
    page = Path(out) / "report.html"
    try:
        return _write(page, metrics, run, clips, sense, vectors, relevance, maps)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"the page {page} can't be written ({reason}): free some space, or name another --out"
        ) from None


def _write(page, metrics, run, clips, sense, vectors, relevance, maps):
    page.unlink(missing_ok=True)
    folder = media_files.clear_media_folder(page.parent / MEDIA)
    found = (
        galleries.retrieval_galleries(vectors, clips["labels"], relevance) if vectors is not None and relevance else {}
    )
    places = galleries.rank_heatmaps(maps["logits"], maps["entries"]) if maps else None
    matrix = galleries.first_of_each_class(clips["labels"], galleries.CROSS_CLIPS) if maps else []
    chart = _atlas(vectors, clips) if vectors is not None else None

    shown = set(matrix) | {point["k"] for point in chart["points"]} if chart else set(matrix)
    for row in (row for gallery in found.values() for row in gallery):
        shown |= {row["query"], *(result["place"] for result in row["results"])}
    for one in (one for part in places["parts"].values() for one in part) if places else ():
        shown.add(one["place"])
    views = {k: _view(folder, k, clips, sense) for k in sorted(shown)}
    if maps:
        _draw_maps(folder, maps, places, matrix)

    measured = metric_rows(metrics)
    text = template_environment().get_template("report.html").render(
        metrics=metrics, run=run, rows=measured, sections=SECTIONS, meanings=MEANINGS,
        headlines=_headlines(measured), views=views,
        start=any(name == "model.init_from" for name, *_ in run["changed"]), lasted=run_duration(run["log"]),
        charts=curves.run_charts(run["log"]), galleries=found, names=DIRECTION_NAMES, directions=DIRECTIONS,
        marks=galleries.MARKS, places=places, matrix=matrix, entries=maps["entries"] if maps else [], atlas=chart,
        classes=_by_class(metrics, clips), pairs=separation_examples(page.parent) if "separation" in metrics else [],
        data=json_block({k: [view["name"], view["frame"], view["sound"]] for k, view in views.items()}),
    )  # fmt: skip
    write_text(page, text)
    return page


def template_environment():
    """The templates, with everything escaped that doesn't come from this project's own files."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.globals["asset"] = lambda name: (TEMPLATES / name).read_text(encoding="utf-8")
    pages.filters |= {"minutes": format_duration, "thousands": lambda number: f"{number:,}"}
    return pages


def json_block(value):
    """JSON as text that can stand in a <script> as it is: nothing in it can end the element, or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def format_duration(seconds):
    """A length of time for people: "43 s", "2 min 5 s", "3 h 10 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def run_duration(log):
    """How long a run took so far: {"step", "epoch", "seconds"} of its last line, or None without a log."""
    lines = [line for line in log if "seconds" in line and "step" in line]
    return {"epoch": None} | lines[-1] if lines else None


def _headlines(measured):
    by_key = {row.key: row for row in measured}
    return [(text, by_key[key]) for key, text in HEADLINES.items() if key in by_key][:4]


def _view(folder, k, clips, sense):
    """Write a clip's media: what the page says of it and where its files are, from the page's folder."""
    frame, spectrogram, sound, rate = sense(k)
    files = media_files.write_clip(folder, k, frame, spectrogram, sound, rate)
    labels = [clips["name"](label) for label in clips["labels"][k]]
    return {"k": k, "id": clips["ids"][k], "name": ", ".join(labels) or clips["ids"][k]} | {
        kind: f"{MEDIA}/{name}" for kind, name in files.items()
    }


def _draw_maps(folder, maps, places, matrix):
    """Write the maps of the localisation and of the mismatched pairs."""
    side = media_files.MAP_SIDE

    def draw(logit, name):
        probability = 1 / (1 + np.exp(-np.clip(upsample(logit[None], side)[0], -30, 30)))
        media_files.write_map(folder / name, probability)

    for k in {one["place"] for part in places["parts"].values() for one in part}:
        draw(maps["logits"][k], f"map_{k}.png")
    if matrix:
        for i, row in enumerate(maps["cross"](matrix)):
            for j, logit in enumerate(row):
                draw(logit, f"cross_{i}_{j}.png")


def _atlas(vectors, clips):
    """The map of embeddings: {"points": list of {"k", "kind", four numbers}, "kinds": list of class names, "of"}."""
    chosen = galleries.evenly_spaced(len(vectors[0]), galleries.TSNE_CLIPS)
    plane = galleries.tsne_map([side[chosen] for side in vectors])
    if plane is None:
        return None
    labels = [clips["labels"][k] for k in chosen]
    common = galleries.common_classes(labels)
    kinds = [next((common.index(label) for label in common if label in one), len(common)) for one in labels]
    points = [
        {"k": k, "kind": kind, "at": at} for k, kind, at in zip(chosen, kinds, plane.tolist(), strict=True)
    ]  # fmt: skip
    names = [clips["name"](label) for label in common] + (["others"] if len(common) in kinds else [])
    return {"points": points, "kinds": names, "of": len(vectors[0])}


def _by_class(metrics, clips):
    """What the tables by class show, or None: {"names", "counts", "ndcg": rows, "called": rows or None, "all"}."""
    mids = galleries.common_classes(clips["labels"])
    if not mids or not ("retrieval" in metrics or "by_class" in metrics):
        return None
    counts = [sum(mid in one for one in clips["labels"]) for mid in mids]
    ndcg = called = None
    if "retrieval" in metrics:
        of = [metrics["retrieval"][direction].get("ndcg_of", {}) for direction in DIRECTIONS]
        ndcg = [[part.get(mid) for part in of] for mid in mids]
    if "by_class" in metrics:
        at = {mid: k for k, mid in enumerate(metrics["by_class"]["classes"])}
        table = metrics["by_class"]["called_a_match"]
        known = all(mid in at for mid in mids)
        called = [[table[at[i]][at[j]] for j in mids] for i in mids] if known else None
    every = len({label for one in clips["labels"] for label in one})
    names = [clips["name"](mid) for mid in mids]
    return {"names": names, "counts": counts, "ndcg": ndcg, "called": called, "all": every}
