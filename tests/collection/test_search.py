"""The search page: its results, what it refuses, and that nothing outside of the collection is served."""

import io
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from helpers import numbered, small_checkpoint
from kill_and_resume import command
from malformed import malformed, png, post
from PIL import Image

from collection import storage
from collection.query import RefusedUpload
from collection.sandbox import Sandbox
from collection.search_index import open_search_index
from utils.errors import UserError

MAX_UPLOAD = 300_000


@pytest.fixture(scope="module")
def page(start_page):
    """The URL of a running page."""
    return start_page(MAX_UPLOAD)


def get(address, **headers):
    """(status, bytes, headers) of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, None, headers), timeout=30) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_an_image_of_the_collection_is_its_own_nearest_neighbor(page, folder):
    picture = next(folder.glob("*.png"))
    status, answer = post(page, "x", picture.read_bytes())
    assert status == 200 and (answer["kind"], list(answer["by"])) == ("image", ["image"])
    found = answer["by"]["image"]
    first = found["images"]["items"][0]
    assert first["name"] == picture.name and first["score"] == pytest.approx(1, abs=1e-3)
    assert len(found["images"]["items"]) == 7 and len(found["sounds"]["items"]) == 7  # each file once
    cosines = [one["score"] for one in found["sounds"]["items"]]
    assert cosines == sorted(cosines, reverse=True)


def test_a_video_is_searched_by_its_frames_and_by_its_sound(page, folder):
    _, answer = post(page, "x", (folder / "video" / "clip4.mp4").read_bytes())
    assert answer["kind"] == "video" and list(answer["by"]) == ["image", "sound"]
    assert answer["by"]["image"]["images"]["items"][0]["name"] == "video/clip4.mp4"
    # Its own sound track is compressed, so it is near to the wav's, not the same.
    assert "video/clip4.mp4" in [one["name"] for one in answer["by"]["sound"]["sounds"]["items"][:3]]
    status, own, _ = get(f"{page}/jobs/{answer['job']}/map.jpg")
    assert status == 200 and Image.open(io.BytesIO(own)).size == (64, 48)


def test_a_sound_is_its_own_nearest_neighbor_in_any_format(page, folder):
    samples, rate = soundfile.read(folder / "song.wav")
    soundfile.write(out := io.BytesIO(), samples, rate, format="FLAC")
    status, answer = post(page, "x.jpg", out.getvalue())
    assert status == 200 and answer["kind"] == "sound"
    first = answer["by"]["sound"]["sounds"]["items"][0]
    assert first["name"] == "song.wav" and first["score"] == pytest.approx(1, abs=1e-3)


def test_results_have_images_sounds_and_maps(page, folder):
    _, answer = post(page, "x", (folder / "audio" / "clip2.wav").read_bytes())
    row = next(one["row"] for one in answer["by"]["sound"]["images"]["items"] if one["name"] == "video/clip2.mp4")
    status, content, headers = get(f"{page}/image/{row}.jpg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg") and Image.open(io.BytesIO(content)).size == (64, 48)
    status, content, headers = get(f"{page}/sound/{row}.wav")
    heard, rate = soundfile.read(io.BytesIO(content))
    assert (status, rate, len(heard)) == (200, 48000, 48000)
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() == pytest.approx(150 * 1.5**2, abs=2)  # Hz: a second has a bin for each
    status, drawn, _ = get(f"{page}/jobs/{answer['job']}/map/image/{row}.jpg")
    assert status == 200 and drawn != get(f"{page}/image/{row}.jpg")[1]
    assert Image.open(io.BytesIO(drawn)).size == (64, 48)
    assert get(f"{page}/jobs/{answer['job']}/map.jpg")[0] == 404  # a sound has no frame of its own
    _, answer = post(page, "x", next(folder.glob("*.png")).read_bytes())
    assert get(f"{page}/jobs/{answer['job']}/map/sound/{row}.jpg")[0] == 200  # that row's sound in the query's picture


@pytest.mark.parametrize("path", [
    "/image/9999.jpg", "/image/-1.jpg", "/sound/9999.wav", "/jobs/9999/map.jpg", "/image/..%2f..%2fetc%2fpasswd",
    "/image/../../../../etc/passwd", "/files/song.wav", "/static/../search.py", "/song.wav", "/search",
])  # fmt: skip
def test_only_rows_are_served_by_their_number(page, path):
    status, content, _ = get(page + path)
    assert status in (404, 405) and "error" in json.loads(content)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "gone.png"])
def test_a_manipulated_collection_reads_nothing_outside_of_its_folder(folder, tmp_path, name):
    secret = folder.parent / "secret.png"
    Image.fromarray(numbered(1)).save(secret)
    found = storage.load_collection(folder.parent / "emb.npz")
    found.about["files"] = [[name, "image", name] for _ in found.about["files"]]
    index = open_search_index(found)
    row = int(np.flatnonzero(found.has_frame)[0])
    for read in (index.media.image, index.media.frame, index.media.sound):
        with pytest.raises(LookupError):
            read(row)


def test_large_wrong_and_damaged_files_get_a_status_and_a_reason(page, folder):
    whole = (folder / "video" / "clip0.mp4").read_bytes()
    cases = [
        (413, bytes(MAX_UPLOAD + 1), "too large: the limit is"),
        (413, png(60000, 60000), "pixels"),
        (415, b"some text", "not an image, audio or video file"),
        (400, next(folder.glob("*.png")).read_bytes()[:90], "image"),
        (400, b"", "empty"),
    ]
    for expected, content, said in cases:
        status, answer = post(page, "../../x.jpg", content)
        assert (status, said in answer["error"]) == (expected, True), answer
    assert post(page, "x", whole)[0] == 200


def test_the_page_still_answers_after_malformed_uploads(page, folder):
    for name, content in malformed(12, seed=3):
        status, answer = post(page, name, content)
        assert status in (200, 400, 413, 415) and "passwd" not in json.dumps(answer)
    for broken in (b"", b"--edge", b"no form at all"):
        request = urllib.request.Request(f"{page}/jobs/search", broken, {"Content-Type": "multipart/form-data"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 400
    assert post(page, "x", next(folder.glob("*.png")).read_bytes())[0] == 200


def test_other_sites_and_foreign_host_names_are_refused(page, folder):
    picture = next(folder.glob("*.png")).read_bytes()
    assert get(page, Host="evil.example")[0] == 403
    assert get(page, Host="localhost:1")[0] == 200
    assert post(page, "x", picture, Origin="http://evil.example")[0] == 403
    assert post(page, "x", picture, Origin="null")[0] == 403
    assert post(page, "x", picture, Origin=page)[0] == 200
    _, _, headers = get(page)
    assert "default-src 'none'" in headers["Content-Security-Policy"] and "Access-Control-Allow-Origin" not in headers


@pytest.fixture
def make_sandbox():
    """`collection.sandbox.Sandbox`, ended after the test."""
    made = []
    yield lambda **limits: made.append(Sandbox(**limits)) or made[-1]
    for sandbox in made:
        sandbox.close()


def test_a_file_that_takes_too_long_is_refused_in_time_and_the_next_one_is_read(make_sandbox, folder, tmp_path):
    sandbox = make_sandbox(max_seconds=0.5)
    Image.effect_noise((7000, 7000), 50).save(tmp_path / "x.png", compress_level=1)
    begin = time.monotonic()
    with pytest.raises(RefusedUpload, match=r"more than 0\.5 s") as refused:
        sandbox.read(tmp_path / "x.png", 4096, 8000, 10)
    assert refused.value.status == 413 and time.monotonic() - begin < 15
    assert len(sandbox.read(folder / "song.wav", 32, 8000, 10).moments) == 2


def test_a_pipe_is_refused_at_once(make_sandbox, tmp_path):
    os.mkfifo(tmp_path / "endless")  # whoever reads it waits
    with pytest.raises(RefusedUpload, match="not an image, audio or video file"):
        make_sandbox().read(tmp_path / "endless", 32, 8000, 10)


def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_one_is_read(make_sandbox, folder, tmp_path):
    Image.new("RGB", (6500, 6500)).save(tmp_path / "x.png")  # 127 MB once it is decoded
    sandbox = make_sandbox(max_memory=900 * 2**20)
    assert sandbox.read(tmp_path / "x.png", 32, 8000, 10).kind == "image"
    sandbox = make_sandbox(max_memory=300 * 2**20)
    with pytest.raises(RefusedUpload) as refused:
        sandbox.read(tmp_path / "x.png", 32, 8000, 10)
    assert refused.value.status in (400, 413)


def test_a_killed_sandbox_restarts(make_sandbox, folder):
    sandbox = make_sandbox()
    sandbox._process.kill()
    with pytest.raises(RefusedUpload):
        sandbox.read(folder / "song.wav", 32, 8000, 10)
    assert len(sandbox.read(folder / "song.wav", 32, 8000, 10).moments) == 2


def test_another_checkpoint_and_missing_files_are_refused(folder, tmp_path):
    found = storage.load_collection(folder.parent / "emb.npz")
    other = small_checkpoint(tmp_path / "other.pt", seed=1, **{"model.name": "AVOLNet"})
    with pytest.raises(UserError, match="another checkpoint"):
        open_search_index(found, other)
    with pytest.raises(UserError, match="pass their folder with --files"):
        open_search_index(found, folder=tmp_path / "nowhere")


def test_settings_that_an_older_version_stored_are_translated(folder):
    found = storage.load_collection(folder.parent / "emb.npz")
    old = {"eval.mirror": "true", "mix.sources": "3"}  # a renamed setting, and one that no AVOL-Net reads
    index = open_search_index(replace(found, about=found.about | {"changes": old}))
    assert index.net.config.eval.flip_tta is True and index.net.config.mix.sources == 2


def test_the_script_refuses_a_missing_collection_without_a_traceback(script, tmp_path):
    done = script(command("search.py", {"collection": tmp_path / "emb"}))
    assert done.returncode == 2 and "make it with embed.py" in done.stderr and done.stderr.count("\n") == 1


def test_in_a_browser_an_image_a_sound_and_a_recording_are_searched(page, folder, browser):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    tab, errors = context.new_page(), []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page)
    picture = next(folder.glob("*.png"))
    tab.set_input_files("#search-file", picture)
    tab.wait_for_selector("#images li")
    assert tab.locator("#images li").first.inner_text().startswith(picture.name)  # as text, not as an element
    assert tab.locator("#images li").count() == 7
    tab.set_input_files("#search-file", folder / "audio" / "clip2.wav")
    tab.wait_for_selector("#search-about:text('clip2.wav')")
    until(lambda: tab.evaluate("[...document.images].some(i => i.complete && i.naturalWidth)"))
    tab.locator("#sounds audio").first.evaluate("one => one.play()")
    until(lambda: tab.locator("#sounds audio").first.evaluate("one => one.currentTime") > 0.05)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []
    tab.set_input_files("#search-file", {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": bytes(MAX_UPLOAD + 1)})
    tab.wait_for_selector("#search-status.wrong:text('too large')")
    tab.focus("#record")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#record:text('Stop')")
    assert tab.locator("#search-status:not(.unseen):text('Recording')").count() == 1
    tab.wait_for_timeout(1700)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#record:text('Record')")
    tab.wait_for_selector("#search-about:text('Your recording')")
    assert tab.inner_text("#search-about").startswith("Your recording: its first") and errors == []
    context.close()


def until(holds, seconds=20):
    """Wait until `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
