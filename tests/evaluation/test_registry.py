"""One declaration for each measure: a new one shows up everywhere, and nothing is written that none declares."""

import json
import re
from pathlib import Path

import page_samples as samples
import pytest
from test_page import Parsed

from evaluation.measures.measure import Detail, Measure, Section, compute_measures
from evaluation.measures.registry import EVALUATION, SECTIONS, measures_markdown, undeclared
from evaluation.measures.retrieval import RETRIEVAL, Rankings
from evaluation.measures.separation import score_pairs, separation_summary
from evaluation.report.compare import compare_measures, comparison_table, read_runs
from evaluation.report.rows import headlines, metric_rows, section_meanings
from evaluation.report.text_table import metrics_table, section_lines

ROOT = Path(__file__).parents[2]


def reciprocal_rank(rankings: Rankings) -> float:
    return (1 / rankings.first_hit).mean()


NEW = Measure("new", "1/rank", "a measure for this test", reciprocal_rank, 0.125, "a constant")


@pytest.fixture
def with_new(monkeypatch):
    monkeypatch.setattr(RETRIEVAL, "measures", (*RETRIEVAL.measures, NEW))


def test_a_new_measure_is_computed_and_shown_in_table_page_comparison_and_documentation(with_new, tmp_path):
    metrics = samples.metrics()
    values = [metrics["retrieval"][direction]["new"] for direction in RETRIEVAL.groups]
    assert all(0 < value <= 1 for value in values) and undeclared(metrics) == []
    texts = [f"{value:.3f}" for value in values]

    rows = {row.key: row for row in metric_rows(metrics)}
    assert [rows[f"retrieval.{direction}.new"].value for direction in RETRIEVAL.groups] == values
    assert rows["retrieval.im-aud.new"].baseline == 0.125

    lines = [line.split() for line in metrics_table(metrics).splitlines()]
    assert [words[-1] for words in lines if "nDCG@30" in words] == ["1/rank"]
    assert texts == [words[-1] for words in lines if words[:1] and words[0] in RETRIEVAL.groups]
    parsed = Parsed(samples.write(tmp_path / "page").read_text(encoding="utf-8"))
    assert all(text in parsed.cells[f"retrieval.{d}.new"] for d, text in zip(RETRIEVAL.groups, texts, strict=True))
    assert NEW.meaning in parsed.text

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    runs = read_runs([tmp_path / "one", tmp_path / "two"])
    table = comparison_table(runs, compare_measures(runs)).splitlines()
    shown = [line.split()[-3:] for line in table if ": 1/rank" in line]
    assert shown == [[text, text, "0.125"] for text in texts]
    assert NEW.meaning in measures_markdown()


def test_everything_that_is_measured_is_declared():
    metrics = samples.metrics()
    baselines = {"cca": metrics["retrieval"] | {"components": 8}, "vgg16": {"im-im": metrics["retrieval"]["im-im"]}}
    metrics["retrieval"] = metrics["retrieval"] | {"baselines": baselines}
    assert undeclared(metrics) == []
    metrics["avc"] = metrics["avc"] | {"nowhere": 0.5}
    metrics["retrieval"]["baselines"]["cca"]["im-im"] = {"nowhere": 0.5}
    assert sorted(undeclared(metrics | {"other": {"x": 1}})) == [
        "avc.nowhere",
        "other.x",
        "retrieval.baselines.cca.im-im.nowhere",
    ]


@pytest.mark.parametrize("key", ["avc", "retrieval", "localization", "negative_sounds"])
def test_everything_that_is_declared_is_measured(key):
    section, values = SECTIONS[key], samples.metrics()[key]
    for group in section.values_by_group(values).values():
        for measure in section.measures:
            if values.get(measure.count_key) == 0:  # a mean over nothing
                continue
            assert measure.value_in(group) is not None, measure.key
            assert (measure.baseline_in(group) is None) == (measure.baseline is None), measure.key
            assert len(measure.references_in(group)) == len(measure.references), measure.key


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
def test_declarations_are_complete(section):
    keys = [measure.key for measure in section.measures]
    assert len(set(keys)) == len(keys) and set(section.compared) <= set(keys)
    assert bool(section.compared) == bool(section.comparisons)
    for measure in section.measures:
        assert measure.name and measure.meaning and bool(measure.baseline_name) == (measure.baseline is not None)
        assert all(not headline.group or headline.group in section.groups for headline in measure.headlines)
    for detail in (*section.details, *section.group_details, *EVALUATION):
        assert isinstance(detail, Detail) and detail.meaning


def test_the_documentation_is_made_from_the_declarations():
    """After a change: python -m evaluation.measures.registry > docs/measures.md"""
    page = (ROOT / "docs/measures.md").read_text(encoding="utf-8")
    assert page == measures_markdown(), "run: python -m evaluation.measures.registry > docs/measures.md"


def test_what_does_not_apply_is_absent_with_its_baseline_and_error():
    measures = (
        Measure("a", "A", "half", lambda data: data / 2, lambda data: 0.5, "chance", error=lambda data: None),
        Measure("b", "B", "nothing", lambda data: None, lambda data: 0.5, "chance", error=lambda data: 1.0),
        Measure("c", "C", "nested", lambda data: data, lambda data: 0.25, "chance", ("chance", "c")),
    )
    section = Section("s", "S", "", measures)
    found = compute_measures(section, 4)
    assert found == {"a": 2, "random_a": 0.5, "c": 4, "chance": {"c": 0.25}}
    assert [measure.value_in(found) for measure in measures] == [2, None, 4]
    assert [measure.baseline_in(found) for measure in measures] == [0.5, None, 0.25]
    assert [line.split() for line in section_lines(section, found)[1:]] == [
        ["ours", "chance"], ["A", "2.000", "0.500"], ["C", "4.000", "0.250"],
    ]  # fmt: skip


def test_measures_over_no_items_are_not_shown():
    metrics = samples.metrics()
    shown = [row.key for row in metric_rows(metrics) if row.section == "localization"]
    metrics["localization"] |= {"two_object_frames": 0}
    gone = ["localization.two_object_accuracy", "localization.distractor_accuracy"]
    fewer = [row.key for row in metric_rows(metrics) if row.section == "localization"]
    assert fewer == [key for key in shown if key not in gone] and set(gone) < set(shown)
    assert "localization.iiou" not in shown  # no picture has several sounds
    assert "silent one" not in metrics_table(metrics)


def test_references_stand_beside_a_measure_in_the_table_and_on_the_page(tmp_path):
    metrics = samples.metrics()
    found = metrics["localization"]
    names = ["whole frame", "random", "ceiling"]
    lines = metrics_table(metrics).splitlines()
    head = next(line for line in lines if "always the center" in line)
    assert re.split(r"\s{2,}", head.strip())[-3:] == names
    cells = next(line for line in lines if line.strip().startswith("mean cIoU")).split()
    shown = [f"{found[f'ciou_{key}']:.3f}" for key in ("whole", "random", "ceiling")]
    assert cells[-3:] == shown
    parsed = Parsed(samples.write(tmp_path / "page").read_text(encoding="utf-8"))
    assert all(text in parsed.cells["localization.ciou"] for text in shown)
    assert all(name in parsed.text for name in names)


def test_a_section_without_any_measure_is_its_heading_alone():
    summary = separation_summary(score_pairs([]))
    assert section_lines(SECTIONS["separation"], summary) == [
        "Separation, 0 mixtures, 0 with a silent source or estimate"
    ]
    assert metric_rows({"separation": summary}) == []


def test_headlines_are_the_four_most_important_of_what_was_measured():
    found = headlines(metric_rows(samples.metrics()))
    assert [row.key for _, row in found] == [
        "localization.peak_accuracy", "separation.nsdr", "avc.accuracy", "retrieval.aud-im.ndcg",
    ]  # fmt: skip
    alone = headlines(metric_rows({"retrieval": samples.metrics()["retrieval"]}))
    assert [text for text, _ in alone] == ["sound to frame, nDCG", "frame to sound, nDCG", "frame to frame, nDCG"]


def test_measures_of_one_meaning_are_explained_together():
    names = [names for names, _ in section_meanings()["retrieval"]]
    assert names[:2] == ["nDCG@k", "recall@1, recall@5, recall@10"]


def test_other_models_stand_beside_the_net_in_table_and_rows():
    metrics = samples.metrics()
    own = metrics["retrieval"]
    other = {"im-im": own["im-im"] | {"ndcg": 0.25}}
    metrics["retrieval"] = own | {"baselines": {"vgg16": other}}
    lines = [line.split() for line in metrics_table(metrics).splitlines()]
    assert ["vgg16", "0.250", "-", "-", "-"] in lines
    assert ["AVOLNet", *(f"{own[direction]['ndcg']:.3f}" for direction in RETRIEVAL.groups)] in lines
    (row,) = (row for row in metric_rows(metrics) if "baselines" in row.key)
    assert (row.key, row.group, row.value) == ("retrieval.baselines.vgg16.im-im.ndcg", "baseline vgg16", 0.25)
    assert row.name == "nDCG@30, frame to frame" and row.baseline == own["im-im"]["random_ndcg"] and row.reference
