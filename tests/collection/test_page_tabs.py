"""The page with all its tabs in a browser, as visitors use it: by keyboard, on a phone, two of them at once."""

import pytest
from test_search import until


@pytest.fixture
def open_page(videos, browser):
    """Open the page as another visitor: `open_page()` gives the browser's tab, which must not report errors."""
    opened = []

    def start(width=390, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        page, errors = context.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        page.goto(videos.url)
        opened.append((context, errors))
        return page

    yield start
    for context, errors in opened:
        assert errors == []
        context.close()


def focused(page):
    return page.evaluate("document.activeElement.id")


def opened(page):
    """The panels that are shown."""
    return page.evaluate("[...document.querySelectorAll('[role=tabpanel]')].filter(p => !p.hidden).map(p => p.id)")


def is_wide(page):
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_tabs_follow_the_arrow_keys(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert focused(page) == "tab-search" and opened(page) == ["panel-search"]
    keys = ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Home", "End"]
    for key, name in zip(keys, ["where", "apart", "search", "apart", "search", "apart"], strict=True):
        page.keyboard.press(key)
        assert focused(page) == f"tab-{name}" and opened(page) == [f"panel-{name}"]
        assert page.get_attribute(f"#tab-{name}", "aria-selected") == "true"
        assert page.locator("[role=tab][tabindex='0']").count() == 1
        assert not is_wide(page)
    page.keyboard.press("Tab")
    assert focused(page) == "apart-file"
    outline = "getComputedStyle(document.activeElement.closest('.drop')).outlineStyle"
    assert page.evaluate(outline) != "none"  # the focus is seen


def test_what_sounds_where_plays_a_film_beside_its_plot(open_page, folder):
    page = open_page(color_scheme="dark")
    page.click("#tab-where")
    page.set_input_files("#where-file", folder / "video" / "clip3.mp4")
    page.wait_for_selector("#where-result:not([hidden])", timeout=60_000)
    assert focused(page) == "where-about" and page.inner_text("#where-about") == "clip3.mp4: 2 seconds"
    until(lambda: page.evaluate("at('where-film').readyState") >= 2)
    assert "on average; most" in page.inner_text("#where-summary")
    page.focus("#where-plot")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
    until(lambda: page.evaluate("at('where-film').currentTime") == pytest.approx(0.5, abs=0.01))
    until(lambda: page.get_attribute("#where-plot", "aria-valuetext").startswith("0.5 seconds: probability 0."))
    box = page.locator("#where-plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    until(lambda: page.evaluate("at('where-film').currentTime") == pytest.approx(1.0, abs=0.1))
    assert not is_wide(page)


def test_a_place_in_the_picture_is_heard_by_a_click_and_by_keys(open_page, folder):
    page = open_page()
    page.click("#tab-apart")
    page.set_input_files("#apart-file", folder / "video" / "clip1.mp4")
    page.wait_for_selector("#apart-result:not([hidden])", timeout=60_000)
    assert page.locator("#apart-sources li").count() >= 2
    page.locator("#apart-picture").click(position={"x": 3, "y": 3})
    page.wait_for_selector("#apart-sound:not([hidden])", timeout=60_000)
    first = page.evaluate("at('apart-sound').src")
    assert first.endswith("pixel_0_0.wav") and page.inner_text("#apart-place").startswith("Column 1 of")
    until(lambda: page.evaluate("at('apart-sound').currentTime") > 0.05)
    page.focus("#apart-picture")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#apart-place").startswith("Column 2 of") and "row 2 of" in page.inner_text("#apart-place")
    page.keyboard.press("Enter")
    until(lambda: page.evaluate("at('apart-sound').src").endswith("pixel_1_1.wav"))
    with page.expect_download() as download:
        page.click("#apart-all")
    assert download.value.suggested_filename == "sources.zip"
    assert not is_wide(page)


def test_work_is_cancelled_by_its_button_and_by_closing_the_page(open_page, videos, long_video, folder):
    page = open_page()
    page.click("#tab-where")
    page.set_input_files("#where-file", long_video)
    page.wait_for_selector("#where-stage:has-text('video')")
    job = page.evaluate("[...activeJobs][0]")
    page.focus("#where-cancel")
    page.keyboard.press("Enter")
    page.wait_for_selector("#where-status:text('Cancelled.')")
    assert page.locator("#where-working").is_hidden() and focused(page) == "where-file"
    until(lambda: videos.jobs.find(job).state == "cancelled")
    page.set_input_files("#where-file", long_video)
    until(lambda: page.evaluate("activeJobs.size") == 1)
    job = page.evaluate("[...activeJobs][0]")
    page.goto("about:blank")
    until(lambda: videos.jobs.find(job).state == "cancelled")


def test_bad_and_too_large_files_are_refused_in_a_sentence(open_page, videos):
    page = open_page(width=1280)
    page.click("#tab-apart")
    page.set_input_files("#apart-file", {"name": "x.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    page.wait_for_selector("#apart-status.wrong")
    assert page.inner_text("#apart-status") == "x.mp4: it is not a video that can be read: send another file"
    large = {"name": "x.mp4", "mimeType": "video/mp4", "buffer": bytes(videos.max_upload + 100_000)}
    page.set_input_files("#apart-file", large)
    page.wait_for_selector("#apart-status:has-text('too large')")
    assert page.locator("#apart-result").is_hidden()


def test_two_visitors_at_once_get_their_own_results(open_page, folder):
    pages = [open_page(), open_page(width=1280)]
    for k, page in enumerate(pages):
        page.click("#tab-where")
        page.set_input_files("#where-file", folder / "video" / f"clip{k}.mp4")
    films = []
    for page in pages:
        page.wait_for_selector("#where-result:not([hidden])", timeout=60_000)
        films.append(page.evaluate("at('where-film').src"))
    assert films[0] != films[1]
    contents = [page.request.get(film).body() for page, film in zip(pages, films, strict=True)]
    assert contents[0] != contents[1]
