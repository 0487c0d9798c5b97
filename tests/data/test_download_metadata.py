"""AudioSet's lists from a server or a folder: a file takes its name whole and verified, or not at all."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data import download_metadata
from data.download_metadata import LISTS, download, get_lists
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
AUDIOSET = ROOT.parent / "shared" / "audioset"

SEGMENTS = b"# YTID, start_seconds, end_seconds, positive_labels\n" + b"".join(
    b'%011d, 0.000, 10.000, "/m/1,/m/2"\n' % k for k in range(1000)
)
FILES = {
    "eval_segments.csv": (SEGMENTS, 1000),
    "class_labels_indices.csv": (b'index,mid,display_name\n0,/m/1,"A, b"\n1,/m/2,C\n', 2),
    "ontology.json": (json.dumps([{"id": "/m/1", "name": "A, b", "child_ids": []}]).encode(), 1),
}


class Server(BaseHTTPRequestHandler):
    """Answers with what `script` says of a path: a list of answers, one after the other, the last for ever."""

    script, asked = {}, []

    def do_GET(self):
        self.asked.append(self.path)
        answers = self.script.get(self.path.rpartition("/")[2], [404])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        code, body, length = answer if isinstance(answer, tuple) else (answer, b"", 0)
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """(address, script, asked) of a server on this machine; no try waits long."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download_metadata.time, "sleep", lambda _: None)
    Server.script, Server.asked = {name: [(200, body, len(body))] for name, (body, _) in FILES.items()}, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/csv/", Server.script, Server.asked
    running.shutdown()
    running.server_close()


def lists(address, *names):
    """The tiny lists in the place of AudioSet's."""
    found = {wanted.name: wanted for wanted in LISTS.values()}
    return [found[name]._replace(folder=address, entries=FILES[name][1]) for name in names or FILES]


def content(folder):
    """{name: bytes} of all there is in a folder, hidden files too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_lists_come_whole_and_a_second_run_asks_for_nothing(server, tmp_path, capsys):
    address, _, asked = server
    get_lists(lists(address), tmp_path / "new" / "infos")
    assert content(tmp_path / "new" / "infos") == {name: body for name, (body, _) in FILES.items()}
    assert "eval_segments.csv: 1,000 entries, verified" in capsys.readouterr().out
    asked.clear()
    get_lists(lists(address), tmp_path / "new" / "infos")
    assert asked == [] and "eval_segments.csv: already exists, 1,000 entries" in capsys.readouterr().out


CUT = SEGMENTS[: len(SEGMENTS) // 2]
BAD = {
    "404": (404, "answered 404", 1),
    "403": (403, "answered 403", 1),
    "429": (429, "answered 429", 3),
    "503": (503, "answered 503", 3),
    "connection cut half-way": ((200, CUT, len(SEGMENTS)), "is truncated after", 3),
    "cut between two rows, no length": (
        (200, CUT[: CUT.rindex(b"\n") + 1], None),
        "has 4.. entries instead of 1,000",
        1,
    ),
    "a row too many": ((200, SEGMENTS + b"aaaaaaaaaaa, 0, 10, /m/1\n", None), "has 1,001 entries instead of 1,000", 1),
    "a web page": ((200, b"<html>log in</html>", 19), "eval_segments.csv, line 1 is not", 1),
    "garbage": ((200, bytes(range(256)), 256), "eval_segments.csv is not a text file", 1),
    "nothing": ((200, b"", 0), "eval_segments.csv has no rows", 1),
}


@pytest.mark.parametrize(("answer", "reason", "tries"), BAD.values(), ids=BAD)
def test_a_bad_answer_leaves_nothing_and_does_not_stop_the_others(server, tmp_path, answer, reason, tries):
    address, script, asked = server
    script["eval_segments.csv"] = [answer]
    with pytest.raises(UserError, match=reason) as caught:
        get_lists(lists(address), tmp_path)
    message = str(caught.value)
    assert message.startswith("1 of the 3 files asked for failed (eval_segments.csv: ") and "--from" in message
    assert message.isprintable() and ".tmp" not in message
    assert set(content(tmp_path)) == {"class_labels_indices.csv", "ontology.json"}
    assert asked.count("/csv/eval_segments.csv") == tries
    script["eval_segments.csv"] = [(200, SEGMENTS, len(SEGMENTS))]
    get_lists(lists(address), tmp_path)
    assert set(content(tmp_path)) == set(FILES)


def test_what_passes_is_tried_again(server, tmp_path):
    address, script, asked = server
    script["eval_segments.csv"] = [503, (200, SEGMENTS[:100], len(SEGMENTS)), (200, SEGMENTS, len(SEGMENTS))]
    get_lists(lists(address, "eval_segments.csv"), tmp_path)
    assert content(tmp_path) == {"eval_segments.csv": SEGMENTS} and len(asked) == 3


def test_an_answer_without_end_is_broken_off(server, tmp_path, monkeypatch):
    address, *_ = server
    monkeypatch.setattr(download_metadata, "MAX_BYTES", 1000)
    with open(tmp_path / "x", "wb") as file, pytest.raises(UserError, match="sends more than"):
        download(address + "eval_segments.csv", file)


def test_a_server_that_stalls_is_given_up(server, tmp_path):
    silent = ThreadingHTTPServer(("127.0.0.1", 0), None)  # takes the connection and says nothing
    with silent, open(tmp_path / "x", "wb") as file, pytest.raises(UserError, match=r"can't be reached \(timed out"):
        download(f"http://127.0.0.1:{silent.server_port}/x", file, pauses=(), timeout=0.1)


def test_without_a_network_one_sentence_tells_of_the_other_way(server, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), None) as closed:
        address = f"http://127.0.0.1:{closed.server_port}/"
    with pytest.raises(UserError, match=r"3 of the 3 files .*can't be reached \(Connection refused.*with --from$"):
        get_lists(lists(address), tmp_path)
    assert content(tmp_path) == {} and sum(download_metadata.PAUSES) <= 10  # nobody waits for minutes


@pytest.mark.parametrize("mine", [b"", SEGMENTS[: SEGMENTS.rindex(b"0000") - 7], b"my notes"])
def test_what_is_there_is_never_replaced(server, tmp_path, mine):
    """It may be a list that the user cut down."""
    address, _, asked = server
    (tmp_path / "eval_segments.csv").write_bytes(mine)
    with pytest.raises(UserError, match=r"eval_segments.csv exists, but is not AudioSet's and was left alone"):
        get_lists(lists(address, "eval_segments.csv"), tmp_path)
    assert content(tmp_path) == {"eval_segments.csv": mine} and asked == []


def test_files_at_hand_are_verified_in_the_same_way_and_copied(tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "eval_segments.csv").write_bytes(SEGMENTS)
    (source / "ontology.json").write_bytes(b"[]")
    with pytest.raises(UserError, match=r"2 of the 3 files .*class_labels.*No such file.*has 0 entries.*--files"):
        get_lists(lists("http://nowhere/"), out, source)
    assert content(out) == {"eval_segments.csv": SEGMENTS}
    assert set(content(source)) == {"eval_segments.csv", "ontology.json"}
    get_lists(lists("http://nowhere/", "eval_segments.csv"), source, source)  # from a folder to itself
    assert "already exists" in capsys.readouterr().out


def test_a_full_disk_or_a_folder_that_takes_no_files_is_named(server, tmp_path, monkeypatch):
    address, _, asked = server

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download_metadata.os, "replace", full)
    with pytest.raises(UserError, match=r"can't be written to .*No space left on device"):
        get_lists(lists(address, "eval_segments.csv"), tmp_path)
    assert content(tmp_path) == {}
    monkeypatch.setattr(download_metadata, "_download_once", full)
    with pytest.raises(UserError, match=r"can't be written to .*No space left on device"):
        get_lists(lists(address, "eval_segments.csv"), tmp_path)
    assert len(asked) == 1  # no try helps
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"folder .*file/infos can't be made .*--out"):
        get_lists(lists(address), tmp_path / "file" / "infos")


def run(*words):
    """The finished process of the script, run as a user runs it."""
    words = [sys.executable, "data/download_metadata.py", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.skipif(not AUDIOSET.is_dir(), reason="AudioSet's lists are not here")
def test_the_real_lists_pass_from_the_command_line(tmp_path):
    done = run("--from", AUDIOSET, "--out", tmp_path, "--files", "labels", "eval", "balanced", "ontology")
    assert done.returncode == 0 and done.stderr == ""
    for name, entries in (("eval_segments.csv", "20,371"), ("balanced_train_segments.csv", "22,160"),
                          ("class_labels_indices.csv", "527"), ("ontology.json", "632")):  # fmt: skip
        assert f"{name}: {entries} entries, verified" in done.stdout
        assert (tmp_path / name).read_bytes() == (AUDIOSET / name).read_bytes()


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path):
    done = run("--from", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith("error: --from ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_official_addresses_and_numbers():
    csv = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
    assert {wanted.folder + wanted.name: wanted.entries for wanted in LISTS.values()} == {
        csv + "eval_segments.csv": 20371, csv + "balanced_train_segments.csv": 22160,
        csv + "unbalanced_train_segments.csv": 2041789, csv + "class_labels_indices.csv": 527,
        "https://raw.githubusercontent.com/audioset/ontology/master/ontology.json": 632,
    }  # fmt: skip
