"""The report page: what it says, what it links to, how large it is."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import av
import numpy as np
import page_samples as samples
import pytest
import torch

from evaluation.measures import correspondence
from evaluation.measures.retrieval import RETRIEVAL, four_directions
from evaluation.report import galleries, html_report, media_files
from evaluation.report.curves import MAX_POINTS, chart, round_ticks, run_charts
from evaluation.report.embedding_map import tsne_map
from evaluation.report.page_content import ClipMedia, PageClips, PageContent, PageRetrieval, RunInfo
from evaluation.report.ranked_maps import rank_heatmaps
from evaluation.report.rows import metric_rows
from evaluation.report.separation_examples import separation_examples
from utils.errors import UserError


class Parsed(HTMLParser):
    """A page: `tags`, list of (name, attributes); `cells`, {data-key: text after it}; `text`, all outside scripts."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.cells, self.text, self._key, self._open = [], {}, "", None, []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self._open.append(tag)
        if "data-key" in attrs:
            self._key = attrs["data-key"]
            self.cells[self._key] = ""

    def handle_data(self, text):
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += text
            if self._key:
                self.cells[self._key] += " " + text

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return samples.write(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def parsed(written):
    return Parsed(written.read_text(encoding="utf-8"))


def flat(value, path=""):
    """{dotted path: number} of nested JSON."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() for k, v in flat(part, f"{path}.{name}".strip(".")).items()}
    return {path: value} if isinstance(value, (int, float)) else {}


def test_every_number_is_that_of_metrics_json(written, parsed):
    """Each cell holds its measure to three decimals, and its baseline; none that people look for is left out."""
    found = flat(json.loads((written.parent / "metrics.json").read_text()))
    for key, text in parsed.cells.items():
        numbers = re.findall(r"\d+\.\d+", text)
        digits = {"median_rank": 1, "sdr": 2, "nsdr": 2}.get(key.split(".")[-1], 3)
        assert f"{found[key]:.{digits}f}" in numbers, (key, text)
    for key in ("retrieval.im-aud.ndcg", "retrieval.aud-im.map", "retrieval.im-im.recall@5"):
        section, direction, name = key.split(".")
        assert f"{found[f'{section}.{direction}.random_{name}']:.3f}" in parsed.cells[key]
    assert f"{found['localization.centre_accuracy']:.3f}" in parsed.cells["localization.peak_accuracy"]
    assert "0.693" in parsed.cells["avc.loss"] and "0.500" in parsed.cells["avc.auc"]
    assert len([key for key in parsed.cells if key.startswith("retrieval")]) == 4 * len(RETRIEVAL.measures) >= 24
    by_class = found["retrieval.im-aud.ndcg_of./m/c"]
    assert f"{by_class:.3f}" in parsed.text


def test_what_it_says_of_the_training(parsed):
    assert "190 steps, 19.0 epochs, 1 min 35 s" in parsed.text and "1 setting not at the default" in parsed.text
    assert "model.width" in parsed.text and "runs/x/best.pt" in parsed.text


def test_each_figure_of_the_clips_stands_beside_its_standard_error(written, parsed):
    found = flat(json.loads((written.parent / "metrics.json").read_text()))
    measured = [key for key in parsed.cells if not key.startswith("separation")]  # made up in the samples
    assert len(measured) > 30
    for key in measured:
        error = f"{found[key + '_error']:.{1 if key.endswith('median_rank') else 3}f}"
        assert f"± {error}" in " ".join(parsed.cells[key].split()), key


def test_names_that_look_like_html_are_text(parsed, written):
    allowed = {"id", "class", "style", "src", "alt", "href", "title", "width", "height", "loading", "lang", "name"}
    for tag, attrs in parsed.tags:
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        if tag == "img":
            assert attrs.keys() <= allowed | {"hidden"} and attrs["src"] != "x" and "alt" in attrs
        assert tag not in ("b", "i") or set(attrs) <= {"style"}
    assert samples.HOSTILE in parsed.text and "Bell & </script><b>" in parsed.text and "<b>mine</b>" in parsed.text
    (block,) = re.findall(r'id="clips">(.*?)</script>', written.read_text(encoding="utf-8"), re.DOTALL)
    assert samples.HOSTILE in {name for name, *_ in json.loads(block).values()}


def links(parsed):
    found = [attrs[name] for _, attrs in parsed.tags for name in ("src", "href") if attrs.get(name)]
    return {link for link in found if not link.startswith("data:")}


def test_every_link_leads_to_a_file_and_every_file_is_linked(written, parsed):
    anchors = {attrs["id"] for _, attrs in parsed.tags if "id" in attrs}
    reached = set()
    for link in links(parsed):
        parts = urlsplit(link)
        assert not parts.scheme and not parts.netloc, link  # nothing from the network
        if link.startswith("#"):
            assert link[1:] in anchors
        else:
            reached.add((written.parent / unquote(parts.path)).resolve())
    assert all(path.is_file() for path in reached)
    media = {path.resolve() for path in (written.parent / "report").iterdir()}
    assert media <= reached
    assert not [path for path in media if path.stat().st_size < 100]


def test_every_part_is_there_and_labelled(parsed):
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    assert {"summary", "localization", "retrieval", "separation", "atlas", "classes", "training"} <= ids
    for tag, attrs in parsed.tags:
        if tag == "section" or attrs.get("role") == "tabpanel":
            assert attrs["aria-labelledby"] in ids
        if attrs.get("aria-controls"):
            assert attrs["aria-controls"] in ids
        if tag == "input":
            assert attrs["id"] in ids


def test_a_net_without_maps_vectors_or_log_still_gets_its_page(tmp_path):
    """Only correspondence was measured: no empty part, no link that leads nowhere."""
    found = {"avc": samples.metrics()["avc"]}
    base = {name: value for name, value in samples.metrics().items() if not isinstance(value, dict)}
    clips = PageClips(samples.IDS, [[]] * samples.CLIPS, str, samples.load_media)
    written = html_report.write_report(tmp_path, base | found, RunInfo(), PageContent(clips))
    parsed = Parsed(written.read_text(encoding="utf-8"))
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    assert not ids & {"localization", "retrieval", "separation", "atlas", "classes"}
    assert "0.500" in parsed.cells["avc.auc"]
    assert {link[1:] for link in links(parsed) if link.startswith("#")} <= ids
    assert list((tmp_path / "report").iterdir()) == []


def test_a_net_that_embeds_no_clips_shows_what_it_took_apart(tmp_path):
    samples.separation(tmp_path / "separation")
    (tmp_path / "metrics.json").write_text("{}")
    found = {"sdr": 5.25, "sdr_mixture": 0.5, "nsdr": 4.75, "nsdr_ideal_binary": 9.5, "pairs": 2, "skipped": 0}
    base = {"model": "PixelPlayer", "split": "test", "clips": 8, "skipped": 0, "data": "data/demo"}
    written = html_report.write_report(tmp_path, base | {"separation": found}, RunInfo())
    parsed = Parsed(written.read_text(encoding="utf-8"))
    assert "5.25" in parsed.cells["separation.sdr"] and "0.50" in parsed.cells["separation.sdr"]
    assert "NSDR 4.50 dB" in parsed.text and "2 mixtures" in parsed.text
    assert "made from the true sources: a ceiling" in parsed.text and "nDCG" not in parsed.text
    heard = [unquote(attrs["src"]) for tag, attrs in parsed.tags if tag == "audio" and attrs.get("src")]
    wanted = {f"separation/a#?%20/{name}.wav" for name in ("mixture", "pred_1", "pred_2", "true_1", "true_2")}
    assert wanted <= set(heard) and all((tmp_path / path).is_file() for path in heard)
    assert samples.HOSTILE in parsed.text and not any("onerror" in attrs for _, attrs in parsed.tags)


def test_a_new_page_takes_the_old_ones_media_away_and_nothing_else(tmp_path):
    samples.write(tmp_path)
    before = {path.name for path in (tmp_path / "report").iterdir()}
    (tmp_path / "report" / "0999.jpg").write_bytes(b"of an earlier page")
    (tmp_path / "report" / "notes.jpg").write_bytes(b"the user's own")
    samples.write(tmp_path)
    assert {path.name for path in (tmp_path / "report").iterdir()} == before | {"notes.jpg"}


def test_a_page_that_breaks_off_leaves_none(tmp_path, monkeypatch):
    written = samples.write(tmp_path)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(media_files, "write_frame", full)
    with pytest.raises(UserError, match=r"report\.html.*disk full"):
        samples.write(tmp_path)
    assert not written.exists()


def test_five_hundred_clips_of_noise_stay_below_60_megabytes(tmp_path):
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (256, 256, 3), np.uint8)
    sound = random.integers(-30000, 30000, 48000, np.int16)
    media_files.write_clip(tmp_path, 0, ClipMedia(frame, random.normal(size=(257, 200)), sound, 48000))
    media_files.write_map(tmp_path / "map_0.png", random.random((96, 96)))
    assert 500 * sum(path.stat().st_size for path in tmp_path.iterdir()) < 60e6


@pytest.mark.parametrize("rate", [4000, 8000, 11000, 16000, 48000])
def test_a_sound_keeps_its_length_and_pitch(rate, tmp_path):
    """Also at rates that mp3 lacks."""
    sound = (20000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    media_files.write_mp3(tmp_path / "a.mp3", sound, rate)
    with av.open(str(tmp_path / "a.mp3")) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        found = file.streams.audio[0].rate
    assert found >= rate and 0.95 < len(heard) / found < 1.2
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * found / len(heard) == pytest.approx(440, abs=3)


# ------------------------------------------------------------------------------------------------- what is chosen


def test_marks_follow_the_ontology():
    def relevance(i, j):
        return [[20, 20, 17, 16, -1]][i][j]  # no label of the last one is in the ontology

    labels = [["a"], ["a"], ["b"], ["c"], ["d"]]
    marks = [galleries.result_mark(0, k, relevance, labels) for k in range(5)]
    assert marks == ["own", "same", "near", "far", "unknown"]
    assert galleries.result_mark(0, 1, relevance, [["a"], []]) == "unknown"


def test_galleries_list_the_nearest_first():
    v, a = samples.embeddings()
    retrieval = PageRetrieval(v, a, lambda i, j: 20 if i % 4 == j % 4 else 0)
    found = galleries.retrieval_galleries(retrieval, samples.LABELS)
    assert [row.query for row in found["im-aud"]] == [0, 1, 2, 3]  # the first of each class
    for direction, (queries, targets) in {"im-aud": (v, a), "aud-im": (a, v), "im-im": (v, v)}.items():
        for row in found[direction]:
            nearest = np.linalg.norm(targets - queries[row.query], axis=1).argsort().tolist()
            nearest = [k for k in nearest if direction != "im-im" or k != row.query]
            places = [result.index for result in row.results]
            assert places == nearest[: len(places)] and len(places) == galleries.RESULTS
            assert all((one.mark in ("own", "same")) == (one.index % 4 == row.query) for one in row.results)


def test_places_are_ordered_by_how_clearly_the_sound_was_found():
    found = samples.maps()
    located = rank_heatmaps(found.logits, found.boxes)
    for part in located.parts.values():
        assert all(one.hit == (one.margin > 0) for one in part)
    best, worst = located.parts["Best"], located.parts["Worst"]
    assert all(one.hit for one in best) and not any(one.hit for one in worst)
    margins = [one.margin for one in best]
    assert margins == sorted(margins, reverse=True) and len(set(margins)) > 1
    assert min(margins) > max(one.margin for one in worst)
    assert all(one.index % 3 == 0 for one in located.parts["With a silent object"])
    unjudged = rank_heatmaps(found.logits, [[] for _ in found.boxes])
    assert not unjudged.annotated and {one.hit for one in unjudged.parts["Best"]} == {None}


def test_the_map_of_embeddings_puts_classes_apart_and_frames_beside_their_sounds():
    v, a = samples.embeddings()
    gap = np.full(8, 3, np.float32)  # between frames and sounds
    plane = tsne_map(v + gap, a)
    assert plane.shape == (samples.CLIPS, 4) and plane.min() >= 0 and plane.max() <= 100
    kinds = np.arange(samples.CLIPS) % 4
    frames, sounds = plane[:, :2], plane[:, 2:]
    within = np.mean([np.linalg.norm(frames[kinds == k].mean(0) - sounds[kinds == k].mean(0)) for k in range(4)])
    across = np.mean([np.linalg.norm(frames[kinds == k].mean(0) - sounds[kinds != k].mean(0)) for k in range(4)])
    assert within < 0.5 * across
    assert np.array_equal(plane, tsne_map(v + gap, a))
    assert tsne_map(v, a[:, :4]) is None and tsne_map(v * 0, a * 0) is None


def test_confusion_counts_pairs_within_their_groups():
    """A hand-made case: frames 0 and 1 of class a, 2 of b; the second frame takes b's sound for its own."""
    logits = torch.tensor([[1.0, 1, -1], [1, 1, 1], [-1, -1, 1]])
    v = a = torch.arange(3)[:, None]
    found = correspondence.class_confusion(
        lambda f, s: logits[f[:, 0]][:, s[:, 0]], v, a, [["a"], ["a"], ["b"]], ["a", "b", "c"]
    )
    assert found[:2, :2] == pytest.approx(np.array([[1, 0.5], [0, 1]]))
    assert np.isnan(found[2]).all() and np.isnan(found[:, 2]).all()


def test_ndcg_of_classes_is_that_of_their_own_queries():
    """A sound that is nearest to its class's frames, one that is farthest from them, and their classes' means."""
    v = np.eye(4)[[0, 1, 2, 3]]
    a = np.eye(4)[[0, 2, 1, 3]]  # the middle two are each other's
    found = four_directions(v, a, [["/m/a"], ["/m/c"], ["/m/b"], ["/m/d"]], samples.CLASSES, k=1, gain="linear")
    of = found["im-aud"]["ndcg_of"]
    assert of["/m/a"] == of["/m/d"] == 1 and of["/m/b"] == of["/m/c"] == pytest.approx(18 / 20)
    assert found["im-aud"]["ndcg"] == pytest.approx(np.mean(list(of.values())))


# ------------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 0.34), (-3, 12), (0, 0), (5, 5), (1e-7, 3e-7), (0, 123456)])
def test_ticks_span_what_is_drawn(low, high):
    ticks = round_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 1 <= len(ticks) <= 8 and ticks == sorted(set(ticks))


def test_curves_lie_within_the_chart_and_end_with_the_last_value():
    line = [(k, k % 7) for k in range(5000)]
    one = chart("x", {"a": line}, chance=3)
    points = np.array([point.split(",") for point in one.lines[0].points.split()], float)
    assert (points >= 0).all() and (points[:, 0] <= one.width).all() and (points[:, 1] <= one.height).all()
    assert one.lines[0].last == line[-1][1]
    log = [{"kind": "train", "step": k, "loss": 1.0, "accuracy": 0.5} for k in range(1, 3000)]
    found = run_charts(
        [*log, {"kind": "train", "step": 3000, "loss": 7.0}, {"kind": "val", "step": 1, "loss": float("nan")}]
    )
    assert [one.title for one in found] == ["loss", "accuracy"]
    assert found[0].lines[0].last == 7 and len(found[0].lines[0].points.split()) <= MAX_POINTS + 1


def test_a_part_that_the_page_does_not_know_is_shown_beside_its_random_neighbour():
    found = metric_rows({"mine": {"audio": {"map": 0.7, "random_map": 0.1, "clips": 5}}})
    assert [(row.key, row.value, row.baseline) for row in found] == [("mine.audio.map", 0.7, 0.1)]


@pytest.mark.parametrize("content", ["{not json", '["a"]', '[{"folder": "../..", "classes": ["a", "b"]}]', "7"])
def test_separation_of_another_form_is_named(content, tmp_path):
    (tmp_path / "separation").mkdir()
    (tmp_path / "separation" / "pairs.json").write_text(content)
    with pytest.raises(UserError, match=r"pairs\.json"):
        separation_examples(tmp_path)
