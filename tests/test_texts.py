"""What messages, help and docstrings point to exists, and what they advise is accepted."""

import ast
import re
import subprocess
from pathlib import Path
from typing import get_args

from configs.rules import LIMITS
from configs.schema import Config, Data, Model
from utils.config import DEFAULTS, override

ROOT = Path(__file__).parent.parent
FILE = r"(?<![\w./<>{}-])((?:[\w-]+/)*[\w-]+\.md)(#[\w-]+)?\b"
SECTION = r"README(?:\.md)?[',]*(?:'s)?(?:,)? (?:section |under )?[\"'`“]([^\"'`”]+)[\"'`”]"
ADVICE = r"--([a-z]+\.[a-z_]+)(?:[ =]([\w.+-]+))?"


def tracked(*patterns):
    """Files of the repository, without its tests."""
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\n") if name and not name.startswith("tests/")]


def headings(page):
    """The headings of a page, and as the anchors that links use."""
    texts = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {*texts, *(re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in texts)}


def strings(path):
    """The texts of a Python file: its string constants, the parts of one f-string joined, and its comments."""
    source = path.read_text(encoding="utf-8")
    found, inside = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            inside |= {id(part) for part in node.values}
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            found.append(node.value)
    return [*found, *re.findall(r"(?m)#.*$", source)]


def dangling(text, place):
    """What a text points to and is not there."""
    missing = []
    for name, anchor in re.findall(FILE, text):
        pages = [page for page in (ROOT / name, ROOT / "docs" / name, place.parent / name) if page.is_file()]
        if not pages or (anchor and anchor[1:] not in headings(pages[0])):
            missing.append(name + anchor)
    return missing + [name for name in re.findall(SECTION, text) if name not in headings(ROOT / "README.md")]


def test_the_check_itself_sees_what_is_not_there():
    text = 'see docs/data.md, docs/nowhere.md, docs/data.md#no-such and README, "No such section", README\'s "Results"'
    assert dangling(text, ROOT / "x.py") == ["docs/nowhere.md", "docs/data.md#no-such", "No such section"]


def test_every_page_and_section_that_code_points_to_exists():
    missing = [(path, name) for path in tracked("*.py") for text in strings(path) for name in dangling(text, path)]
    assert missing == []


def test_every_page_that_other_files_point_to_exists():
    files = tracked("*.html", "*.css", "*.yml", "Makefile", "*.toml", "*.cff")
    assert {path: found for path in files if (found := dangling(path.read_text(encoding="utf-8"), path))} == {}


def config_of(net):
    """A valid config of a net."""
    data = {"AVENet_MF": Data(frames=8), "AVENet_OF": Data(flow="dis")}.get(net, Data())
    return Config(data=data, model=Model(name=net))


def is_value(name, word):
    """Whether a word after the name of a setting is meant as its value, such as 2 or dis, not the next word."""
    kind = DEFAULTS[name].kind
    if name in LIMITS:
        return re.fullmatch(r"[\d.e+-]*\d", word) is not None
    return word in (get_args(kind) or (("true", "false") if kind is bool else ()))


def test_a_setting_that_a_message_advises_is_one_and_its_nets_take_the_value():
    """`set --data.flow none` is no advice for a net that needs flow."""
    for text in [text for path in tracked("*.py") for text in strings(path)]:
        for name, word in re.findall(ADVICE, text):
            assert name in DEFAULTS, f"{text!r} names --{name}"
            for net in DEFAULTS[name].nets if is_value(name, word) else ():
                override(config_of(net), {name: word.rstrip(".")})


def test_one_of_a_thing_is_not_called_by_its_plural():
    """`{len(labels)} labels` gives "1 labels": `dataset.making.text.count_text` doesn't."""
    things = "clips|files|labels|rows|videos|recordings|shards|sounds|frames|folders|seconds"
    counted = rf"(?<!of )(?<!at least )\{{(?:len|sum)\([^{{}}]*\)\}} (?:{things})\b(?! that| of)"
    lines = [line for path in tracked("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line.strip() for line in lines if re.search(counted, line) and "== 1" not in line] == []
