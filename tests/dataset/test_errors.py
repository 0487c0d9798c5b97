"""Errors carry a kind: code decides by it, and every text may be reworded."""

import ast
import pickle
from pathlib import Path

import pytest
from clip_cases import BAD_SOUNDS, BAD_VIDEOS
from helpers import make_clip

from dataset.making.checks.clip_checks import check_clip
from dataset.reading.audio import AudioReader
from dataset.reading.errors import ClipError, MediaError, error_reason, image_error_reason
from utils.errors import UserError

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("collection", "configs", "data", "dataset", "evaluation", "models", "utils")
SOURCES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]


def test_the_text_is_path_reason_and_hint():
    error = MediaError("damaged", Path("a/b.mp4"), "is truncated", "download it again")
    assert str(error) == "a/b.mp4 is truncated: download it again" and error.problem == "a/b.mp4 is truncated"
    assert (error.kind, error.path, error.reason, error.hint) == (
        "damaged", Path("a/b.mp4"), "is truncated", "download it again",
    )  # fmt: skip
    assert str(MediaError("missing", "x.wav", "is missing")) == "x.wav is missing"
    assert isinstance(error, UserError)


def test_a_clips_error_says_how_to_go_on_without_it():
    error = ClipError("b", "silent", "b.wav", "is silent")
    assert str(error) == "b.wav is silent: fix or remove clip b, or pass --data.on_error skip"
    assert error.clip == "b" and isinstance(error, MediaError)
    assert str(ClipError("b", "silent", "b.wav", "is silent", "try another")) == "b.wav is silent: try another"
    storage = MediaError("storage", "s3://x", "can't be read", "try later").for_clip("b")
    assert type(storage) is ClipError and (storage.clip, storage.kind, storage.hint) == ("b", "storage", "try later")


@pytest.mark.parametrize(
    "error",
    [
        MediaError("short", Path("a.mp4"), "is short"),
        MediaError("short", Path("a.mp4"), "is short", "make it longer"),
        ClipError("a", "short", Path("a.mp4"), "is short"),
        ClipError("a", "short", Path("a.mp4"), "is short", "make it longer"),
    ],
)
def test_errors_pass_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)


def test_reasons_of_libraries_leave_out_the_file():
    assert error_reason(FileNotFoundError(2, "No such file", "a.mp4")) == "No such file"
    assert error_reason(ValueError("bad value.")) == "bad value"
    assert image_error_reason(ValueError("cannot identify image file '/a/b.jpg'")) == "cannot identify image file"


@pytest.mark.parametrize(
    ("half", "ruin"),
    [
        *(pytest.param(0, ruin, id=f"mp4: {name}") for name, (ruin, _) in BAD_VIDEOS.items()),
        *(pytest.param(1, ruin, id=f"wav: {name}") for name, (ruin, _) in BAD_SOUNDS.items()),
        pytest.param(0, Path.unlink, id="no mp4"),
        pytest.param(1, Path.unlink, id="no wav"),
    ],
)
def test_rewording_every_error_changes_no_verdict(tmp_path, monkeypatch, half, ruin):
    files = make_clip(tmp_path, "bad", aac=True, gop=10)
    ruin(files[half])
    before = check_clip("bad", *files)
    monkeypatch.setattr(
        AudioReader, "_error", lambda self, kind, path, _: ClipError(self.clip, kind, path, "ist kaputt", "wirf es weg")
    )
    monkeypatch.setattr(
        MediaError, "for_clip", lambda self, clip: ClipError(clip, self.kind, self.path, "ist kaputt", "wirf es weg")
    )
    after = check_clip("bad", *files)
    assert before.kind == after.kind != "ok"
    assert after.message == f"{('the mp4', 'the wav')[half]} ist kaputt"


# ------------------------------------------------------------------------------------------------ no code reads a text

# Functions that read texts which aren't ours: of torch, the system's network library, Pillow, yt-dlp and ffmpeg.
EXCEPTIONS = {
    ("utils/tensors.py", "load_tensors"), ("utils/process_errors.py", "describe_process_error"),
    ("utils/system_errors.py", "_says"),
    ("dataset/reading/errors.py", "error_reason"), ("dataset/reading/errors.py", "image_error_reason"),
    ("utils/kernels.py", "explain_kernel_errors"), ("utils/kernels.py", "_compile_error"),  # of one type for all
    ("utils/errors.py", "first_line"),
    ("data/download_metadata.py", "verify"),  # shows a file's own name in the place of a temporary one
}  # fmt: skip
ERROR_NAMES = {"error", "err", "exc", "exception", "e"}


def text_of_error(node, names, texts):
    """Whether an expression is the text of an exception: `str(error)`, `error.args[0]`, or a name bound to one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr"):
        return len(node.args) == 1 and isinstance(node.args[0], ast.Name) and node.args[0].id in names
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # str(error).lower()
        return text_of_error(node.func.value, names, texts)
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute) and node.attr in ("args", "reason", "hint", "problem"):
        return isinstance(node.value, ast.Name) and node.value.id in names
    return isinstance(node, ast.Name) and node.id in texts


def readings(function):
    """Lines of a function that look into the text of an exception."""
    handlers = {node.name for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.name}
    names, texts = ERROR_NAMES | handlers, set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and text_of_error(node.value, names, texts):
            texts |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(function):
        compared = isinstance(node, ast.Compare) and any(
            text_of_error(side, names, texts) for side in (node.left, *node.comparators)
        )
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if compared or (called and text_of_error(node.func.value, names, texts)):
            yield node.lineno


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_looks_into_an_errors_text(path):
    name = path.relative_to(ROOT).as_posix()
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        if (name, function.name) not in EXCEPTIONS:
            assert not list(readings(function)), f"{name}, {function.name}: decide by the error's kind"


def test_the_check_sees_each_form():
    source = """
def a():
    try: pass
    except ValueError as problem:
        return "x" in str(problem)
def b(error): return str(error).removeprefix("x")
def c(error):
    text = str(error)
    return text.startswith("x")
def d(error): return "large" in error.reason
def e(error): return error.args[0] == "x"
def f(error): return f"{error}: {error.reason}", str(error), error.kind == "x"
"""
    assert [bool(list(readings(function))) for function in functions(ast.parse(source))] == [True] * 5 + [False]
