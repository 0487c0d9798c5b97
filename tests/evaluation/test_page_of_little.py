"""report.html where little was measured: no labels, one validation."""

import page_samples as samples
import pytest
from test_page import Parsed

from evaluation.measures.retrieval import four_directions
from evaluation.report import html_report
from evaluation.report.page_content import PageClips, PageContent, PageRetrieval, RunInfo


def test_notes_and_a_page_without_labels(tmp_path):
    """What goes by labels is missing, the rest is there."""
    metrics = samples.metrics() | {"notes": ["no clip has labels, so nothing goes by them", "2 clips are few"]}
    v, a = samples.embeddings()
    unlabelled = [[]] * samples.CLIPS
    metrics["retrieval"] = four_directions(v, a, unlabelled, samples.CLASSES)
    clips = PageClips(samples.IDS, unlabelled, samples.CLASSES.name, samples.load_media)
    content = PageContent(clips, PageRetrieval(v, a, lambda i, j: -1.0))
    page = Parsed(html_report.write_report(tmp_path, metrics, RunInfo(), content).read_text(encoding="utf-8"))
    assert "No clip has labels, so nothing goes by them." in page.text and "2 clips are few." in page.text
    assert "24 clips" in page.text and "Clips without labels" in page.text and "no label" in page.text
    shown = {key.rpartition(".")[0] for key in page.cells if key.startswith("retrieval")}
    assert shown == {"retrieval.im-aud", "retrieval.aud-im"} and "Retrieval by class" not in page.text


def test_a_curve_of_one_point_is_drawn_as_a_point(tmp_path):
    """As of a run with a single validation: a line of one point shows nothing."""
    log = [{"kind": "train", "step": k, "loss": 1 / k, "seconds": k, "epoch": k / 10} for k in (10, 20)]
    log.append({"kind": "val", "step": 20, "loss": 0.3, "auc": 0.85, "seconds": 20, "epoch": 2.0})
    run = RunInfo([], log)
    page = Parsed(html_report.write_report(tmp_path, samples.metrics(), run).read_text(encoding="utf-8"))
    points = [attrs for tag, attrs in page.tags if tag == "circle"]
    assert len(points) == 2  # of the loss and of the AUC; that of the training is a line
    lines = [attrs["points"] for tag, attrs in page.tags if tag == "polyline"]
    for point in points:
        assert f"{point['cx']},{point['cy']}" in lines
        assert 0 < float(point["cx"]) <= 360 and 0 < float(point["cy"]) < 190 and float(point["r"]) > 2


@pytest.mark.parametrize(
    ("count", "words"), [(1, "Measured on 1 clip."), (2, "Measured on 2 clips."), (1200, "1,200 clips.")]
)
def test_counts_have_their_nouns(count, words, tmp_path):
    metrics = {"model": "AVENet", "split": "test", "clips": count, "skipped": 0, "avc": samples.metrics()["avc"]}
    page = Parsed(html_report.write_report(tmp_path, metrics, RunInfo()).read_text(encoding="utf-8"))
    assert words in page.text and "0 settings not at the default" in page.text
