"""The pages in a real browser, opened from disk: the system's Chromium, driven by playwright."""

import os
import shutil

import page_samples as samples
import pytest
from test_compare import better, make_run

from evaluation.report.compare import write_comparison

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this system")
SCREENS = {"wide": (1280, 860), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    words = ["--autoplay-policy=no-user-gesture-required", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=words)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """{"report", "compare"}: addresses of the two pages."""
    folder = tmp_path_factory.mktemp("pages")
    report = samples.write(folder / "eval")
    compared = write_comparison([make_run(folder / "a"), make_run(folder / "b", better)], folder)
    return {"report": report.as_uri(), "compare": compared.as_uri()}


@pytest.fixture
def visit(browser, pages):
    """A callable (page, screen, scheme) -> the open page; whatever it complains of fails the test."""
    said, contexts = [], []

    def opened(name="report", screen="wide", scheme="light"):
        width, height = SCREENS[screen]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"{request.url} {request.failure}"))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.goto(pages[name])
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def test_every_picture_and_every_sound_resolves(visit):
    page = visit()
    broken = page.evaluate("""async () => {
        const failed = [];
        await Promise.all([...document.images].filter((i) => !i.closest("#player")).map(async (image) => {
            image.loading = "eager";
            if (!image.complete) await new Promise((done) => { image.onload = image.onerror = done; });
            if (!image.naturalWidth) failed.push(image.src);
        }));
        const audios = [...document.querySelectorAll("main audio")].map((audio) => audio.src);
        const links = [...document.querySelectorAll("a[data-k]")].map((link) => link.href);
        for (const source of new Set([...audios, ...links])) {
            const length = await new Promise((done) => {
                const audio = new Audio(source);
                audio.onloadedmetadata = () => done(audio.duration);
                audio.onerror = () => done(0);
            });
            if (!(length > 0.5 && length < 2)) failed.push(`${source} ${length}`);
        }
        return failed;
    }""")
    assert broken == []
    assert page.evaluate("window.broken") is None  # what a hostile name would have set
    assert page.locator("img[onerror]").count() == 0


def test_a_press_plays_the_clips_sound(visit):
    page = visit()
    assert not page.locator("#player").is_visible()
    page.locator("#retrieval .panel:not([hidden]) .results a").nth(1).click()
    page.wait_for_function("document.querySelector('#player audio').currentTime > 0.1")
    playing = page.evaluate("document.querySelector('#player audio').getAttribute('src')")
    assert playing == page.locator("#retrieval .panel:not([hidden]) .results a").nth(1).get_attribute("href")
    name = page.locator("#retrieval .panel:not([hidden]) .results a .name").nth(1).inner_text()
    assert page.locator("#player span").inner_text() == name
    page.locator("#player button").click()
    assert not page.locator("#player").is_visible()
    assert page.evaluate("document.querySelector('#player audio').paused")


def test_the_slider_and_the_box_switch_change_what_is_laid_over_the_frames(visit):
    page = visit()
    opacity = "getComputedStyle(document.querySelector('#localization .map')).opacity"
    before = float(page.evaluate(opacity))
    page.locator("#opacity").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert float(page.evaluate(opacity)) == pytest.approx(before - 0.1)
    assert page.locator("#opacity-value").inner_text() == "60%"
    assert page.locator("#localization .box").first.is_visible()
    page.locator("#boxes").press(" ")
    assert not page.locator("#localization .box").first.is_visible()


def test_arrow_keys_move_in_tabs_galleries_and_the_map(visit):
    page = visit()
    page.locator("#tab-aud-im").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#g-im-aud").is_visible() and not page.locator("#g-aud-im").is_visible()
    assert page.evaluate("document.activeElement.id") == "tab-im-aud"
    page.keyboard.press("Tab")  # into the gallery
    at = """(() => {
        const here = document.activeElement, row = here.closest("[data-row]");
        const rows = [...row.parentNode.querySelectorAll("[data-row]")];
        return `${rows.indexOf(row)},${[...row.querySelectorAll("a")].indexOf(here)}`;
    })()"""
    assert page.evaluate(at) == "0,0"
    for key, place in (
        ("ArrowRight", "0,1"),
        ("ArrowDown", "1,1"),
        ("End", "1,8"),
        ("ArrowUp", "0,8"),
        ("Home", "0,0"),
    ):
        page.keyboard.press(key)
        assert page.evaluate(at) == place, key
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#player audio').currentTime > 0.05")

    page.locator(".sky svg").focus()
    places = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        places.add(tuple(page.locator(".ring").first.get_attribute(name) for name in ("cx", "cy")))
    assert len(places) >= 3 and page.locator(".card img").is_visible()
    page.locator("#player button").click()
    page.locator(".sky svg").press("Enter")
    assert page.locator("#player").is_visible()


def test_pointing_at_the_map_shows_the_clip_and_a_class_can_be_seen_alone(visit):
    page = visit()
    page.locator("#atlas").scroll_into_view_if_needed()
    page.locator(".sky circle.dot").nth(2).hover(force=True)
    assert page.locator(".card p").inner_text() == "Frame: Cello"
    chip = page.locator(".chips button").nth(1)
    chip.click()
    faded = page.evaluate(
        "[...document.querySelectorAll('.dot')].filter((d) => getComputedStyle(d).opacity < 0.5).length"
    )
    assert faded == 2 * samples.CLIPS * 3 / 4 and chip.get_attribute("aria-pressed") == "true"
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("name", ["report", "compare"])
def test_the_tab_key_reaches_everything_shows_where_it_is_and_is_never_trapped(name, visit):
    page = visit(name)
    wanted = page.evaluate("""() => {
        const found = [...document.querySelectorAll("a[href], button, input, audio[controls], summary, [tabindex]")]
            .filter((one) => one.tabIndex >= 0 && one.checkVisibility());
        found.forEach((one, k) => { one.dataset.stop = k; });
        return found.length;
    }""")
    reached, unseen = [], []
    for _ in range(6 * wanted):  # a player has several stops within
        page.keyboard.press("Tab")
        stop, outline = page.evaluate("""() => {
            const one = document.activeElement;
            return [one.dataset.stop, getComputedStyle(one).outlineStyle];
        }""")
        if stop is None:
            break  # left the page at its end
        reached.append(int(stop))
        if outline == "none":
            unseen.append(stop)
    assert sorted(set(reached)) == list(range(wanted)) and reached == sorted(reached)
    assert unseen == []


def test_light_and_dark_follow_the_system_until_the_switch_says_otherwise(visit):
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit(scheme=scheme) for scheme in ("light", "dark"))
    bright = light.evaluate(paper)
    assert bright != dark.evaluate(paper)
    assert light.locator("#theme").inner_text() == "Dark"
    light.locator("#theme").click()
    assert light.evaluate(paper) == dark.evaluate(paper) and light.locator("#theme").inner_text() == "Light"
    light.reload()
    assert light.evaluate(paper) == dark.evaluate(paper)


@pytest.mark.parametrize("screen", SCREENS)
def test_a_measures_name_is_not_broken_within_a_word(screen, visit):
    """ "recall@10" with its 0 on the next line is read as recall@1."""
    broken = visit("report", screen).evaluate("""() => {
        const lines = (head) => {
            const range = document.createRange();
            range.selectNodeContents(head);
            return range.getClientRects().length;
        };
        return [...document.querySelectorAll(".grid6 thead th")].map((head) => [head.textContent.trim(), lines(head)])
            .filter(([name, count]) => count > name.split(" ").length);
    }""")
    assert broken == []


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ["report", "compare"])
def test_nothing_makes_the_page_scroll_sideways(name, screen, visit):
    page = visit(name, screen)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tabs = page.locator("[role=tab]")
    for k in range(max(tabs.count(), 1)):
        if tabs.count():
            tabs.nth(k).click()
        width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] <= width[1] == SCREENS[screen][0]
