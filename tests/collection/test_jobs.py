"""Jobs on visitors' videos: their results, cancelling, limits, and that nobody else and nothing outside is reached."""

import io
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from helpers import write_video
from malformed import malformed

from collection.job_worker import describe_error
from collection.query import RefusedUpload
from collection.sandbox import Cancelled, Sandbox
from dataset.reading.clip_reader import ClipReader
from evaluation.trained_net import load_trained_net


def start(videos, task, path, name="x.mp4"):
    """Upload a file: (status, JSON of the reply)."""
    content = path if isinstance(path, bytes) else path.read_bytes()
    reply = videos.client.post(f"/jobs/{task}", data={"file": (io.BytesIO(content), name)})
    return reply.status_code, reply.json


def wait(videos, job, states=("done", "failed", "cancelled"), seconds=120):
    """Wait until a job is in one of the states; returns what the page is told."""
    end = time.monotonic() + seconds
    while (answer := videos.client.get(f"/jobs/{job}").json)["state"] not in states:
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer


def finish(videos, task, path, name="x.mp4"):
    status, answer = start(videos, task, path, name)
    assert status == 202, answer
    return wait(videos, answer["job"])


def fetch(videos, job, name):
    reply = videos.client.get(f"/jobs/{job}/{name}")
    assert reply.status_code == 200, reply.json
    return reply.data


@pytest.fixture
def limits(videos):
    """Change the limits of the jobs for one test: `limits(waiting=1)`."""
    before = videos.jobs.limits

    def change(**values):
        videos.jobs.limits = replace(before, **values)

    yield change
    videos.jobs.limits = before


def test_what_sounds_where_is_a_film_and_the_probability_of_each_moment(videos, folder, nets):
    video = folder / "video" / "clip2.mp4"
    answer = finish(videos, "where", video)
    assert answer["state"] == "done", answer
    result = answer["result"]
    assert result["cut"] is False and result["seconds"] == pytest.approx(2, abs=0.05)
    assert result["times"] == pytest.approx(np.arange(0.5, result["times"][-1] + 0.01, 1 / 8).tolist())
    # The net itself, on the frames and sounds of the original.
    net = load_trained_net(nets["where"])
    with ClipReader("x", video, folder / "audio" / "clip2.wav") as clip:
        v = net.embed_frames(clip.frames([1.0], 36))
        a = net.embed_sounds(clip.sound(1.0, 8000)[None])
    own = float(net.correspondence(v, a)[0, 0])
    assert result["probabilities"][result["times"].index(1.0)] == pytest.approx(own, abs=0.05)  # compressed once more
    with av.open(io.BytesIO(fetch(videos, answer["job"], "where.mp4"))) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (64, 48)
        assert sum(1 for _ in film.decode(video=0)) == pytest.approx(32, abs=1)
        assert film.streams.audio[0].duration * film.streams.audio[0].time_base == pytest.approx(2, abs=0.1)


def test_a_video_is_taken_apart_and_each_pixel_can_be_heard(videos, folder):
    answer = finish(videos, "apart", folder / "video" / "clip1.mp4")
    assert answer["state"] == "done", answer
    result, job = answer["result"], answer["job"]
    source = result["sources"][0]
    samples, rate = soundfile.read(io.BytesIO(fetch(videos, job, source["file"])))
    assert rate == result["rate"] == 8000 and len(samples) / rate == pytest.approx(result["seconds"], abs=0.001)
    with zipfile.ZipFile(io.BytesIO(fetch(videos, job, result["all"]))) as archive:
        assert archive.namelist() == ["mixture.wav", *(one["file"] for one in result["sources"])]
        assert archive.read(source["file"]) == fetch(videos, job, source["file"])
    for name in (result["picture"], *result["films"]):
        assert len(fetch(videos, job, name)) > 500
    x, y = source["at"]
    heard = videos.client.post(f"/jobs/{job}/pixel", data={"x": x, "y": y})
    assert heard.status_code == 202
    pixel = wait(videos, heard.json["job"])["result"]
    assert fetch(videos, job, pixel["file"]) == fetch(videos, job, source["file"])  # the same place, the same sound
    assert pixel["decibels"] == pytest.approx(source["decibels"], abs=0.01)
    again = videos.client.post(f"/jobs/{job}/pixel", data={"x": x, "y": y}).json
    assert again["job"] == heard.json["job"]  # it is not computed twice
    for x, y in (("", ""), ("nan", "0.5"), ("1.5", "0.5"), ("-0.1", "0")):
        assert videos.client.post(f"/jobs/{job}/pixel", data={"x": x, "y": y}).status_code == 400


def test_a_longer_video_is_cut_and_its_visitor_is_told(videos, long_video, limits):
    limits(longest=1.5)
    result = finish(videos, "where", long_video)["result"]
    assert result["cut"] is True and result["seconds"] == pytest.approx(1.5, abs=0.05)


def test_a_job_can_be_cancelled_while_it_runs_and_while_it_waits(videos, long_video, folder):
    jobs = [start(videos, "where", long_video)[1]["job"] for _ in range(3)]  # two of them run
    waiting = next(
        job for job in jobs if wait(videos, job, ("waiting", "running"))["state"] == "waiting" or job == jobs[2]
    )
    for job in (waiting, *(job for job in jobs if job != waiting)):
        begin = time.monotonic()
        assert videos.client.post(f"/jobs/{job}/cancel").json["state"] == "cancelled"
        assert time.monotonic() - begin < 1
    assert finish(videos, "where", folder / "video" / "clip0.mp4")["state"] == "done"  # the next one is served
    assert videos.client.get(f"/jobs/{jobs[0]}").json["state"] == "cancelled"


def test_too_many_jobs_are_refused_and_the_others_are_worked_on(videos, long_video, limits):
    limits(waiting=1)
    replies = [start(videos, "where", long_video) for _ in range(5)]
    refused = [answer for status, answer in replies if status == 503]
    assert refused and all("are waiting already: try again" in answer["error"] for answer in refused)
    assert len(refused) <= 3
    for status, answer in replies:
        if status == 202:
            videos.client.post(f"/jobs/{answer['job']}/cancel")


def test_jobs_of_closed_pages_end_and_results_are_removed_after_a_time(videos, long_video, folder, limits):
    done = finish(videos, "where", folder / "video" / "clip0.mp4")["job"]
    kept = videos.jobs.find(done).folder
    job = start(videos, "where", long_video)[1]["job"]
    left = videos.jobs.find(job)
    limits(absent=0.0)  # nobody asks
    until(lambda: left.state == "cancelled")
    until(lambda: not left.folder.exists())  # nor is its upload kept
    assert kept.exists()
    limits(kept=0.0)
    until(lambda: not kept.exists())
    assert videos.client.get(f"/jobs/{done}").status_code == 404
    assert "send the file again" in videos.client.get(f"/jobs/{done}/where.mp4").json["error"]


def test_a_job_that_takes_too_long_ends(videos, long_video, limits):
    limits(seconds=0.0)
    answer = finish(videos, "where", long_video)
    assert answer["state"] == "failed" and "send a shorter file" in answer["error"]


def test_a_worker_that_dies_fails_its_job_only(videos, long_video, folder):
    job = start(videos, "where", long_video)[1]["job"]
    until(lambda: videos.jobs.find(job).stage not in ("", "reading the video"))  # its process works on it
    videos.jobs._running[videos.jobs.find(job)].kill()
    answer = wait(videos, job)
    assert answer["state"] == "failed" and "has ended" in answer["error"]
    assert finish(videos, "where", folder / "video" / "clip0.mp4")["state"] == "done"


def test_wrong_files_are_refused_in_one_sentence(videos, folder, tmp_path):
    write_video(tmp_path / "silent.mp4", [np.zeros((48, 64, 3), np.uint8)] * 20, 10, sound=np.zeros(16000), rate=8000)
    write_video(tmp_path / "mute.mp4", [np.zeros((48, 64, 3), np.uint8)] * 20, 10)
    cases = [
        (b"some text", "it is not a video that can be read: send another file"),
        (next(folder.glob("*.png")).read_bytes(), "it is an image: send a video with its sound"),
        ((folder / "song.wav").read_bytes(), "it is a sound: send a video with its sound"),
        ((tmp_path / "mute.mp4").read_bytes(), "it has no sound: send a video with its sound"),
        ((tmp_path / "silent.mp4").read_bytes(), "silent"),
        ((folder / "video" / "clip0.mp4").read_bytes()[:3000], "it"),
    ]
    for content, said in cases:
        answer = finish(videos, "apart", content)
        assert answer["state"] == "failed" and said in answer["error"], answer
        assert "/" not in answer["error"], answer  # no path of the server
    assert start(videos, "where", b"")[0] == 400
    status, answer = start(videos, "where", bytes(videos.max_upload + 1))
    assert status == 413 and "too large: the limit is" in answer["error"]
    assert videos.client.post("/jobs/where").status_code == 400
    assert videos.client.post("/jobs/other").status_code in (404, 405)


def test_no_upload_reaches_a_path_outside_its_folder(videos, folder):
    root = videos.jobs._root
    before = {path for path in root.parent.iterdir() if path != root}
    names = ["../../../../tmp/escaped.mp4", "/etc/passwd", "a/../../b.mp4", "x\x00y.mp4"]
    for (_, content), name in zip(malformed(4, seed=5), names, strict=True):
        assert finish(videos, "where", content or b"x", name)["state"] in ("done", "failed")
    answer = finish(videos, "where", folder / "video" / "clip0.mp4", "../../clip.mp4")
    own = videos.jobs.find(answer["job"]).folder
    assert answer["state"] == "done", answer
    assert {path.name for path in own.iterdir()} == {"clip.mp4", "clip.wav", "where.mp4"}
    escaped = [path for path in root.parent.iterdir() if "escaped" in path.name or path.name in ("b.mp4", "clip.mp4")]
    assert not escaped and root.parent.exists() and before
    for name in ("clip.mp4", "clip.wav", "upload", "../upload", "..%2f..%2fetc%2fpasswd", "%2e%2e/x", "."):
        reply = videos.client.get(f"/jobs/{answer['job']}/{name}")
        assert reply.status_code in (404, 405, 308) and b"passwd" not in reply.data.replace(name.encode(), b"")
    assert videos.client.get("/jobs/1").status_code == 404
    assert videos.client.post("/jobs/1/cancel").status_code == 404
    assert videos.client.post(f"/jobs/{answer['job']}/pixel", data={"x": 0.5, "y": 0.5}).status_code == 404


def test_films_are_sent_in_parts_so_that_players_can_seek(videos, folder):
    job = finish(videos, "where", folder / "video" / "clip0.mp4")["job"]
    reply = videos.client.get(f"/jobs/{job}/where.mp4", headers={"Range": "bytes=10-19"})
    assert reply.status_code == 206 and reply.data == fetch(videos, job, "where.mp4")[10:20]
    other = videos.client.post("/jobs/where", headers={"Origin": "http://evil.example"})
    assert other.status_code == 403


@pytest.fixture(scope="module")
def large_video(tmp_path_factory):
    """A video that takes some seconds to convert."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    write_video(path, [np.zeros((720, 1280, 3), np.uint8)] * 200, 5, sound=np.full(320_000, 0.1), rate=8000)
    return path


@pytest.fixture
def sandbox():
    made = Sandbox()
    yield made
    made.close()


def test_a_video_is_converted_to_a_clip_in_its_folder_and_ends_when_it_is_not_wanted(
    sandbox, folder, large_video, tmp_path
):
    (tmp_path / "out").mkdir()
    seconds = sandbox.convert(folder / "video" / "clip0.mp4", tmp_path / "out", 60.0)
    with ClipReader("clip", tmp_path / "out" / "clip.mp4", tmp_path / "out" / "clip.wav") as clip:
        assert clip.sound_seconds == pytest.approx(seconds) and seconds == pytest.approx(2, abs=0.1)
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        sandbox.convert(large_video, tmp_path / "out", 60.0, lambda: False)
    assert time.monotonic() - begin < 5
    until(lambda: not children_of(sandbox._process.pid))
    with pytest.raises(RefusedUpload, match="send a video with its sound"):
        sandbox.convert(folder / "song.wav", tmp_path / "out", 60.0)


def test_uploads_are_decoded_side_by_side(sandbox, folder, large_video, tmp_path):
    """One that takes its whole time does not hold up the others."""
    wanted, ends = [True], {}

    def convert():
        with pytest.raises(Cancelled):
            sandbox.convert(large_video, tmp_path, 60.0, lambda: wanted[0])
        ends["long"] = time.monotonic()

    thread = threading.Thread(target=convert)
    thread.start()
    until(lambda: children_of(sandbox._process.pid))
    assert sandbox.read(folder / "song.wav", 32, 8000, 10).kind == "sound"
    ends["short"] = time.monotonic()
    wanted[0] = False
    thread.join()
    assert ends["short"] < ends["long"]


def test_errors_of_a_worker_are_one_sentence_without_paths(capfd):
    assert describe_error(MemoryError(), 1.0) == "it takes too much memory: send a shorter video"
    assert describe_error(RuntimeError("/secret"), 1.0).startswith("it can't be processed (RuntimeError)")
    assert "/secret" in capfd.readouterr().err


def children_of(pid):
    """The processes that a process has started and that are alive."""
    return [
        path for path in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if Path(f"/proc/{path}").exists()
    ]


def until(holds, seconds=30):
    """Wait until `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
