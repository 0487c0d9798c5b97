"""The documentation names what exists: links, files, commands, their options and settings."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])
FRONT = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
NO_TESTS = {"pytest"}


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def code_blocks(path):
    return re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path):
    """The words of each python command of a page, of code blocks and of inline code."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(body for kind, body in code_blocks(path) if kind in ("", "bash", "sh"))
    blocks = re.sub(r"\\\n\s*", " ", blocks)
    lines = [line.partition("  #")[0] for line in blocks.splitlines()]
    lines += re.findall(r"`((?:python|torchrun) [^`]*)`", text)
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0] in ("python", "torchrun") and not {"NAME.py", "data/NAME.py"} & set(words):
            yield line, words


@cache
def help_of(script):
    """What `python SCRIPT --help` prints."""
    words = ["-m", script] if not script.endswith(".py") else [script]
    done = subprocess.run([sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name} links to {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_exists_with_its_options(page):
    for line, words in commands(page):
        scripts = [word for word in words[1:] if word.endswith(".py") and not word.startswith("-")]
        module = words[words.index("-m") + 1] if "-m" in words else None
        if module in NO_TESTS:
            continue
        script = module or next((word for word in scripts if (ROOT / word).exists()), None)
        assert script, f"{page.name}: no script in {line!r} exists"
        shown = help_of(script)
        after = words[words.index(script) + 1 :]
        for word in after:
            option = word.partition("=")[0]
            if word.startswith("--"):
                assert re.search(rf"(?<![\w-]){re.escape(option)}\b", shown), f"{page.name}: {script} has no {option}"
        for config in (word for word in after if word.startswith("configs/")):
            assert (ROOT / config).is_file(), f"{page.name} names {config}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_setting_that_a_page_names_exists(page):
    from utils.config import DEFAULTS as known

    sections = {name.partition(".")[0] for name in known}
    text = page.read_text(encoding="utf-8")
    for name in re.findall(rf"`(?:--)?((?:{'|'.join(sections)})\.[a-z_]+)[ `]", text):
        assert name in known or name.endswith((".py", ".json")) or (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_names_in_code_exists(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"`((?:configs|data|dataset|models|utils|evaluation|collection|docs|tests)/[\w/]+\.(?:py|md|json|txt))`", text
    ):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_messages_of_the_code_name_pages_that_exist():
    """Docstrings, comments and messages point to pages of docs/ and to files: they must be there."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for file in set(tracked.split()) - {"tests/test_texts.py"}:  # which names a page that is not there
        text = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"\bdocs/\w+\.(?:md|py|png|jpg)\b", text):
            assert (ROOT / name).exists(), f"{file} names {name}"


def test_the_front_page_is_short_and_narrow():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    assert max(map(len, text.splitlines())) <= 100


def test_both_front_pages_show_the_same_commands():
    blocks = [[body for kind, body in code_blocks(page) if kind != ""] for page in FRONT]
    assert blocks[0] == blocks[1]
    lines = [
        [re.sub(r"\s+#.*", "", line) for _, words in commands(page) for line in [" ".join(words)]] for page in FRONT
    ]
    assert lines[0] == lines[1]


def test_the_snippet_of_the_front_page_runs(tmp_path, monkeypatch):
    """On a small net in the place of the demo's."""
    import soundfile
    from helpers import numbered, small_checkpoint, tone
    from PIL import Image

    (code,) = [body for kind, body in code_blocks(FRONT[0]) if kind == "python"]
    small_checkpoint(tmp_path / "runs/demo_VOLNet/best.pt", **{"model.name": "AVOLNet"})
    monkeypatch.chdir(tmp_path)
    for name, size in (("dog.jpg", (64, 48)), ("flute.png", (30, 50))):
        Image.fromarray(numbered(7, size)).save(name)
    for name in ("bark.wav", "tune.mp3"):
        soundfile.write(name, tone(2.0, 44100, 500), 44100)
    found = {}
    exec(compile(code, "README.md", "exec"), found)
    assert found["v"].shape == found["a"].shape and found["map"].shape == (48, 64)
    assert found["map"][found["y"], found["x"]] == found["map"].max()
