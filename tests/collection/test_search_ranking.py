"""How a query ranks a collection: by cosine within a modality, by the net's own score of pairs across modalities."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import small_checkpoint
from malformed import post

import embed
import search
from collection import storage
from collection.query import Query
from collection.search_index import open_search_index
from dataset.reading.moments import Moment
from evaluation.trained_net import load_trained_net


@pytest.fixture(scope="module")
def with_maps(folder):
    """The collection of `folder` with maps, `maps.npz` beside it, embedded by the net of `best.pt`."""
    net, out = folder.parent / "best.pt", folder.parent / "maps"
    embed.main(["--checkpoint", str(net), "--input", str(folder), "--out", str(out), "--maps"])
    return storage.load_collection(f"{out}.npz")


@pytest.fixture
def query(folder):
    """Two seconds of another picture and sound."""
    random = np.random.default_rng(5)
    moments = []
    for time in (0.5, 1.5):
        frame = np.kron(random.integers(0, 255, (4, 4, 3), np.uint8), np.ones((9, 9, 1), np.uint8))
        sound = np.int16(9000 * np.sin(np.arange(8000) * (0.1 + 0.2 * time)))
        moments.append(Moment(time, frame, sound))
    return Query("video", moments, None)


def naive_logits(folder, collection, query):
    """Mean logits of the query's frames with the files' sounds, and of its sounds with their frames, from the files."""
    net = load_trained_net(folder.parent / "best.pt")
    v = net.embed_frames(np.stack([moment.frame for moment in query.moments]))
    a = net.embed_sounds(np.stack([moment.sound for moment in query.moments]))
    scale, bias = net.model.conv7.weight.item(), net.model.conv7.bias.item()

    def logit(frame, sound):  # the largest value of the map, in float64
        return scale * np.einsum("dhw,d->hw", frame.double().numpy(), sound.double().numpy()).max() + bias

    images, sounds = {}, {}
    for row in range(len(collection.times)):
        if collection.has_frame[row]:
            maps = torch.from_numpy(np.asarray(collection.maps[collection.has_frame[:row].sum()], np.float32))
            images[row] = np.mean([logit(maps, sound) for sound in a])
        if collection.has_sound[row]:
            own = torch.from_numpy(collection.sounds[row] * collection.norms[row])
            sounds[row] = np.mean([logit(frame, own) for frame in v])
    return images, sounds


def test_across_modalities_the_nets_own_score_ranks(folder, with_maps, query):
    found = open_search_index(with_maps).search(query, 20)["by"]
    images, sounds = naive_logits(folder, with_maps, query)
    for name, side, logits in (("sound", "images", images), ("image", "sounds", sounds)):
        assert found[name][side]["measure"] == "probability"
        items = found[name][side]["items"]
        best = {}  # of each file, its best row
        for row, value in logits.items():
            file = with_maps.file_of(row)[0]
            if file not in best or value > best[file][1]:
                best[file] = (row, value)
        assert {item["name"] for item in items} == set(best)
        for item in items:
            assert item["score"] == pytest.approx(1 / (1 + np.exp(-logits[item["row"]])), abs=2e-3)
            assert item["score"] == pytest.approx(1 / (1 + np.exp(-best[item["name"]][1])), abs=2e-3)
        assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)


def test_within_a_modality_and_without_maps_the_cosine_ranks(folder, with_maps, query):
    plain = dataclasses.replace(with_maps, maps=None, norms=None)
    by, without = (open_search_index(one).search(query, 20)["by"] for one in (with_maps, plain))
    for name, side in (("sound", "sounds"), ("image", "images")):
        assert by[name][side] == without[name][side] and by[name][side]["measure"] == "cosine"
    assert {without[name][side]["measure"] for name in without for side in without[name]} == {"cosine"}
    orders = [[item["row"] for item in one["sound"]["images"]["items"]] for one in (by, without)]
    assert orders[0] != orders[1]  # else this test could not tell them apart


def test_the_start_says_which_score_is_used(with_maps):
    plain = dataclasses.replace(with_maps, maps=None, norms=None)
    assert "the net's own score of pairs, the largest value" in search.describe_ranking(open_search_index(with_maps))
    assert "mean vectors" in (said := search.describe_ranking(open_search_index(plain))) and "--maps" in said


def test_a_long_file_does_not_crowd_out_the_others(folder, query):
    found = storage.load_collection(folder.parent / "emb.npz")
    rows = np.concatenate([np.zeros(5000, int), np.arange(len(found.times))])
    arrays = ("frames", "sounds", "has_frame", "has_sound", "times", "files")
    long = dataclasses.replace(found, **{name: getattr(found, name)[rows] for name in arrays})
    for lists in open_search_index(long).search(query, 12)["by"].values():
        for side in lists.values():
            names = [item["name"] for item in side["items"]]
            assert len(names) == len(set(names)) == 7


def test_a_net_without_maps_compares_vectors_and_says_nothing_of_maps(folder, tmp_path, query):
    net = small_checkpoint(tmp_path / "best.pt")
    embed.main(["--checkpoint", str(net), "--input", str(folder), "--out", str(tmp_path / "emb")])
    index = open_search_index(storage.load_collection(tmp_path / "emb.npz"))
    assert not index.localizes and not index.scores_pairs
    assert index.search(query)["by"]["sound"]["images"]["measure"] == "cosine"


def test_in_a_browser_the_page_says_what_ranks_each_list(folder, with_maps, start_page, browser):
    assert with_maps.norms is not None
    for name, crossed in (("maps", "by the net's own score"), ("emb", "with embed.py --maps the net's own score")):
        page = start_page(2**20, name)
        assert post(page, "x", (folder / "audio" / "clip2.wav").read_bytes())[0] == 200
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.goto(page)
        tab.set_input_files("#search-file", folder / "audio" / "clip2.wav")
        tab.wait_for_selector("#images li")
        assert crossed in tab.inner_text("#images-note")
        assert tab.inner_text("#sounds-note").startswith("by cosine similarity")
        measure = "probability" if name == "maps" else "cosine"
        assert measure in tab.locator("#images li").first.inner_text()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.close()
