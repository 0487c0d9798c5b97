"""No visitor of the page holds another one up: searches and clicks beside long videos, slow uploads and hung files."""

import os
import signal
import socket
from contextlib import contextmanager

import numpy as np
import pytest
from test_jobs import finish, start, until, wait
from test_page_tabs import focused, open_page  # noqa: F401

from collection.job import Job
from collection.query import Query
from collection.sandbox import Cancelled
from collection.search_index import open_search_index
from collection.storage import load_collection
from dataset.reading.moments import Moment


@contextmanager
def suspended(*processes):
    """Processes that do nothing for a while: whoever waits for one waits long."""
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


def lane(videos, task):
    return videos.jobs._lane(task)


def test_a_search_and_a_click_are_answered_while_all_workers_are_at_long_videos(videos, folder, long_video):
    apart = finish(videos, "apart", folder / "video" / "clip1.mp4")["job"]
    with suspended(*(runner._process._process for runner in lane(videos, "where").runners)):
        long = [start(videos, task, long_video)[1]["job"] for task in ("where", "apart", "where")]
        until(lambda: len([job for job in long if videos.jobs.find(job).state == "running"]) == 2)
        assert finish(videos, "search", folder / "audio" / "clip2.wav")["state"] == "done"
        click = videos.client.post(f"/jobs/{apart}/pixel", data={"x": 0.9, "y": 0.9}).json["job"]
        assert wait(videos, click)["state"] == "done"
        assert not any(videos.jobs.find(job).is_over for job in long)
        for job in long:
            videos.client.post(f"/jobs/{job}/cancel")
    assert finish(videos, "where", folder / "video" / "clip0.mp4")["state"] == "done"


def test_a_visitor_whose_upload_is_slow_holds_nobody_up(videos, folder):
    host, port = videos.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as slow:
        head = "POST /jobs/where HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        form = '--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf of'
        slow.sendall(f"{head}Content-Length: 200000\r\n\r\n{form}".encode())
        answer = finish(videos, "search", folder / "audio" / "clip2.wav")
        assert answer["result"]["by"]["sound"]["sounds"]["items"][0]["name"] == "video/clip2.mp4"


def test_many_videos_that_wait_let_a_search_in(videos, folder, long_video):
    with suspended(*(runner._process._process for runner in lane(videos, "where").runners)):
        replies = [start(videos, "where", long_video) for _ in range(12)]
        assert replies[-1][0] == 503  # no more videos
        assert finish(videos, "search", folder / "song.wav")["state"] == "done"
        for _, answer in replies:
            if "job" in answer:
                videos.client.post(f"/jobs/{answer['job']}/cancel")


def test_a_search_that_is_read_is_cancelled_at_once_and_the_next_one_is_served(videos, folder):
    count = len(lane(videos, "search").runners)
    with suspended(videos.sandbox._process):
        jobs = [start(videos, "search", folder / "song.wav")[1]["job"] for _ in range(count)]
        until(lambda: all(videos.jobs.find(job).stage == "reading the file" for job in jobs))
        for job in jobs:
            assert videos.client.post(f"/jobs/{job}/cancel").json["state"] == "cancelled"
        until(lambda: not any(job.task == "search" for job in videos.jobs._running))
    assert finish(videos, "search", folder / "song.wav")["state"] == "done"


@pytest.fixture(scope="module")
def index(folder):
    return open_search_index(load_collection(folder.parent / "emb.npz"))


@pytest.fixture
def query(index):
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 255, (index.size, index.size, 3), np.uint8)
    sound = generator.integers(-9000, 9000, int(index.seconds * index.rate)).astype(np.int16)
    return Query("video", [Moment(0.5, frame, sound)], None)


def test_a_search_says_how_far_it_is_and_stops_when_it_is_not_wanted(index, query, tmp_path):
    job, stages = Job("search", tmp_path, state="running"), []

    def follow(items, stage):
        for item in job.progress(items, stage):
            stages.append((job.stage, job.fraction))
            yield item

    index.search(query, progress=follow)
    assert stages == [("looking and listening", 0.0), ("looking and listening", 0.5)]
    job.state = "cancelled"
    with pytest.raises(Cancelled):
        index.search(query, progress=job.progress)


def test_a_search_shows_its_progress_and_is_cancelled_by_keyboard(open_page, videos, folder):  # noqa: F811
    page = open_page()
    with suspended(videos.sandbox._process):
        page.set_input_files("#search-file", folder / "song.wav")
        page.wait_for_selector("#search-stage:text('song.wav – reading the file')")
        assert page.locator("#search-bar").is_visible()
        job = page.evaluate("[...activeJobs][0]")
        page.focus("#search-cancel")
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-status:text('Cancelled.')")
        assert page.locator("#search-working").is_hidden() and focused(page) == "search-file"
        assert page.locator("#search-result").is_hidden()
        until(lambda: videos.jobs.find(job).state == "cancelled")
    page.set_input_files("#search-file", folder / "song.wav")
    page.wait_for_selector("#search-about:text('song.wav: its first 2 seconds')")
    until(lambda: page.evaluate("document.querySelector('#images img').naturalWidth") > 0)


def test_nobody_else_sees_the_maps_of_a_search(videos, folder):
    answer = finish(videos, "search", (folder / "video" / "clip4.mp4"))
    assert videos.client.get(f"/jobs/{answer['job']}/map.jpg").status_code == 200
    assert videos.client.get("/jobs/1/map.jpg").status_code == 404
    where = finish(videos, "where", folder / "video" / "clip0.mp4")["job"]
    assert videos.client.get(f"/jobs/{where}/map.jpg").status_code == 404
