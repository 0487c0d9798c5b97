"""Shards by URL: the same samples as from a folder, also over a bad line, and one sentence where it can't be."""

import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from helpers import make_dataset
from kill_and_resume import SMALL, command, train_command

from dataset.loading.loader import make_loader
from dataset.pairs import PairDataset
from dataset.reading import remote, shards
from dataset.reading.errors import ClipError
from dataset.reading.reader import open_clips
from utils.errors import UserError

RATE = 8000


class Handler(SimpleHTTPRequestHandler):
    """Serves `site_root`; `ranges` says whether it knows them; `faults` requests of a tar fail, with a `status`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, site = self.site_root / unquote(self.path).lstrip("/"), type(self)
        with site.lock:
            site.requests.append(self.path)
            fails = path.suffix == ".tar" and site.faults > 0
            site.faults -= fails
        if fails or not path.is_file():
            return self.send_error(site.status if fails else 404)
        content, status = path.read_bytes(), 200
        if site.ranges and "Range" in self.headers:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            content, status = content[first : last + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("source"), train=12, val=6, test=6, rate=RATE, seconds=2)


@pytest.fixture
def site(source, tmp_path, make_shards, monkeypatch):
    """(URL of shards of `source`, their folder, the server's handler)."""
    monkeypatch.setattr(remote, "RETRY_DELAY", 0.01)
    make_shards(source, tmp_path / "a b", clips=5)
    more = {"site_root": tmp_path, "ranges": True, "faults": 0, "status": 503, "requests": [], "lock": threading.Lock()}
    handler = type("Site", (Handler,), more)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/a%20b", tmp_path / "a b", handler
    server.shutdown()
    server.server_close()


def samples(root, workers=0, split="train"):
    """Two batches of a split."""
    pairs = PairDataset(open_clips(root, split), 48, RATE, 0.2, 0.5, seed=3)
    return list(make_loader(pairs, [[(0, i) for i in range(7)], [(1, i) for i in range(3, 12)]], workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_by_url_are_those_of_the_folder(site, workers):
    url, folder, _ = site
    near, far = samples(folder), samples(url, workers)
    for one, other in zip(near, far, strict=True):
        assert not other["errors"] and one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one if torch.is_tensor(one[name]))


def test_a_clip_costs_a_request_for_its_frame_and_one_for_its_sound(site):
    """Whole shards are never fetched: with millions of clips they would not fit."""
    url, _, handler = site
    clips = open_clips(url, "train")
    list(make_loader(PairDataset(clips, 48, RATE, 0.2), [[(0, i) for i in range(12)]], 0))
    assert sum(path.endswith(".tar") for path in handler.requests) == 24
    assert len(clips) == 12 and clips.boxes and clips.labels[0]


def test_an_index_is_requested_once_however_often_its_clips_are_visited(site, monkeypatch):
    url, _, handler = site
    monkeypatch.setattr(shards, "MAX_OPEN", 1)
    clips = open_clips(url, "train")
    batches = make_loader(PairDataset(clips, 48, RATE, 0.2), [[(e, i) for i in range(12)] for e in range(3)], 0)
    assert not any(batch["errors"] for batch in batches)
    indexes = sorted(path for path in handler.requests if path.endswith(".index"))
    assert len(set(indexes)) == 3 and len(indexes) == 3


def test_a_request_that_fails_is_made_again(site):
    url, folder, handler = site
    handler.faults = remote.MAX_TRIES - 1  # so that all may fall to one request, whichever comes when
    far = samples(url)
    assert handler.faults == 0 and not far[0]["errors"]
    assert torch.equal(samples(folder)[0]["frames"], far[0]["frames"])


def test_a_shard_that_is_gone_is_named_with_its_clip(site):
    url, folder, _ = site
    clips = open_clips(url, "train")
    (folder / "train" / "00001.tar").unlink()
    with (
        pytest.raises(ClipError, match=r"train/00001.tar can't be read \(FileNotFoundError") as caught,
        clips.open(6) as clip,
    ):
        clip.sound(1, RATE)
    assert caught.value.clip == clips.ids[6] and "\n" not in str(caught.value)
    errors = samples(url)[0]["errors"]
    assert [clip for clip, _ in errors] == clips.ids[5:7]


@pytest.mark.parametrize(
    ("status", "asked", "said"),
    [(404, 1, "can't be read .FileNotFoundError"), (403, 1, "can't be read .*403"), (503, 5, "tried 5 times .*503"),
     (429, 5, "tried 5 times .*429")],
)  # fmt: skip
def test_only_what_may_pass_is_asked_for_again(site, status, asked, said):
    url, _, handler = site
    clips = open_clips(url, "train")
    handler.faults, handler.status = 100, status
    with pytest.raises(ClipError, match=said), clips.open(6) as clip:
        clip.sound(1, RATE)
    assert sum(path.endswith(".tar") for path in handler.requests) == asked


def test_a_server_that_knows_no_ranges_is_refused_and_not_read_whole_as_a_frame(site):
    url, _, handler = site
    handler.ranges = False
    with pytest.raises(ClipError, match=r"gave \d+ bytes of 16000"), open_clips(url, "train").open(0) as clip:
        clip.sound(1, RATE)


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("{url}/nothing", "nothing/shards.json is missing"),
        ("http://127.0.0.1:9/x", "x/shards.json (can't be read|is missing)"),
        ("nosuch://bucket/x", "nosuch://bucket/x can't be read by URL"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence(site, root, words):
    with pytest.raises(UserError, match=words) as caught:
        open_clips(root.format(url=site[0]), "train")
    assert "\n" not in str(caught.value)


def test_an_index_that_changed_on_the_way_is_refused(site):
    url, folder, _ = site
    index = folder / "train" / "00000.index"
    index.write_bytes(bytes(8) + index.read_bytes()[8:])
    with pytest.raises(UserError, match=r"00000\.index is damaged"), open_clips(url, "train").open(0):
        pass


def test_other_storage_is_read_as_well(site):
    """As s3 and gs are, through fsspec: its file system in memory stands for them here."""
    import fsspec

    folder, memory = site[1], fsspec.filesystem("memory")
    memory.put(str(folder) + "/", "/bucket/mine/", recursive=True)
    near, far = samples(folder), samples("memory://bucket/mine")
    assert torch.equal(near[1]["sounds"], far[1]["sounds"]) and np.array_equal(near[1]["indices"], far[1]["indices"])


def test_a_net_is_trained_and_evaluated_by_url(site, tmp_path, script):
    url, _, _ = site
    run = tmp_path / "run"
    settings = SMALL | {"data.frame_step": 0.2, "data.cache_gb": 0, "train.workers": 1, "train.epochs": 1}
    done = script(train_command(url, run, settings))
    assert done.returncode == 0, done.stderr
    done = script(command("eval.py", {"checkpoint": run / "best.pt", "tasks": "avc"}))
    assert done.returncode == 0 and "6 clips" in done.stdout, done.stderr
