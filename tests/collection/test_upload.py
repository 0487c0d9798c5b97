"""Uploads to the search page of every size up to its limit, by a browser's form and as other programs send them."""

import io
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from helpers import tone
from malformed import post
from PIL import Image
from scipy.io import wavfile

MEGABYTE = 2**20


def noise(seed, count):
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8).tobytes()


def wav_of(megabytes):
    """A wav of noise of exactly this size: (name, bytes). Its bytes hold line ends as any binary file's do."""
    wavfile.write(out := io.BytesIO(), 48000, np.frombuffer(noise(0, megabytes * MEGABYTE - 44), "<i2"))
    assert len(out.getvalue()) == megabytes * MEGABYTE
    return "noise.wav", out.getvalue()


def bmp_of(megabytes):
    """An uncompressed picture of about this size."""
    side = int((megabytes * MEGABYTE / 3) ** 0.5) // 4 * 4
    picture = Image.fromarray(np.frombuffer(noise(1, side * side * 3), np.uint8).reshape(side, side, 3))
    picture.save(out := io.BytesIO(), "BMP")
    return "noise.bmp", out.getvalue()


@pytest.fixture(scope="module")
def page(start_page):
    """The URL of a page with the default limit, 32 MB."""
    return start_page(32 * MEGABYTE)


@pytest.mark.parametrize("megabytes", [1, 10, 30])
@pytest.mark.parametrize("make", [wav_of, bmp_of])
def test_a_real_browser_uploads_files_of_any_size_up_to_the_limit(page, browser, tmp_path, make, megabytes):
    name, content = make(megabytes)
    (tmp_path / name).write_bytes(content)
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(page)
    with tab.expect_response("**/jobs/search", timeout=60_000) as response:
        tab.set_input_files("#search-file", tmp_path / name)
    assert response.value.status == 202
    tab.wait_for_selector("#images li")
    assert tab.locator("#images li").count() == 7
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()


@pytest.mark.parametrize("size", [70_000, 131_072, 200_000, 500_000, 3_000_000])
@pytest.mark.parametrize("lines", [b"", b"\n", b"\r\n", b"\r\n--edg", b"\r\n--"])
def test_content_of_any_kind_arrives_whole(page, size, lines):
    """A parser of forms must look for its boundary, "--edge", within the file."""
    wavfile.write(out := io.BytesIO(), 8000, np.int16(8000 * tone(1.5, 8000)))
    filler = (lines or b"x") * (size // max(len(lines), 1))
    status, answer = post(page, "x.wav", out.getvalue() + filler)
    assert status == 200 and answer["kind"] == "sound" and answer["seconds"] == 2


def test_the_limit_is_the_size_of_the_file_to_the_byte(start_page):
    page = start_page(MEGABYTE + MEGABYTE // 2)
    wavfile.write(out := io.BytesIO(), 8000, np.int16(8000 * tone(1.5, 8000)))
    content = out.getvalue().ljust(MEGABYTE + MEGABYTE // 2, b"\0")
    assert post(page, "x" * 200 + ".wav", content)[0] == 200
    status, answer = post(page, "x.wav", content + b"\0")
    assert status == 413 and answer["error"].startswith("the file is too large: the limit is 1.5 MB")


def test_a_form_of_many_fields_is_refused_without_speaking_of_the_file(page):
    part = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    body = part * 50 + b"--edge--\r\n"
    request = urllib.request.Request(
        f"{page}/jobs/search", body, {"Content-Type": "multipart/form-data; boundary=edge"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413 and "too large" not in json.load(refused.value)["error"]


def test_in_a_browser_a_file_over_the_limit_gets_both_sizes(page, browser, tmp_path):
    (tmp_path / "x.wav").write_bytes(bytes(33 * MEGABYTE + MEGABYTE // 2))
    tab = browser.new_page()
    tab.goto(page)
    tab.set_input_files("#search-file", tmp_path / "x.wav")
    tab.wait_for_selector("#search-status.wrong")
    said = "x.wav is too large: it has 33.5 MB, the limit is 32 MB. Send a smaller file."
    assert tab.inner_text("#search-status") == said
    tab.close()
