"""Every public function and method has types in its signature and names each argument in its docstring."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("collection", "configs", "data", "dataset", "docs", "evaluation", "models", "utils")
FILES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
LONGEST_FILE, LONGEST_FUNCTION = 350, 60  # lines
UNDOCUMENTED = {"self", "cls", "argv"}


def public_functions(tree):
    """(name, function) of a module's public functions and of its public classes' public methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def arguments(function):
    """All named arguments of a function."""
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return [arg for arg in every if arg and arg.arg not in UNDOCUMENTED and not arg.arg.startswith("_")]


def overrides(function):
    """Whether a method's decorator says that another class or a library documents it."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in function.decorator_list}
    return bool(names & {"override", "overload", "setter"})


def each(check):
    return pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))(check)


@each
def test_public_functions_are_documented_with_each_argument(path):
    tree, missing = ast.parse(path.read_text(encoding="utf-8")), []
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for name, function in public_functions(tree):
        doc = ast.get_docstring(function)
        if overrides(function):
            continue
        if not doc:
            missing.append(f"{name} has no docstring")
            continue
        lacking = [arg.arg for arg in arguments(function) if not re.search(rf"\b{arg.arg}\b", doc)]
        missing += [f"{name} does not name {', '.join(lacking)}"] if lacking else []
    assert not missing, "\n".join(missing)


@each
def test_every_argument_and_result_has_a_type(path):
    tree, missing = ast.parse(path.read_text(encoding="utf-8")), []
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        untyped = [arg.arg for arg in arguments(function) if arg.annotation is None]
        untyped += [] if function.returns is not None or function.name == "__init__" else ["its result"]
        missing += [f"{function.name}: {', '.join(untyped)}"] if untyped else []
    assert not missing, "\n".join(missing)


@each
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_the_check_itself_sees_what_is_missing():
    source = '''
def documented(x: int) -> int:
    """Return x."""
def bare(x, *, y=0):
    """Return x."""
class Public:
    """A class."""
    def method(self, size: int) -> None:
        """Do something."""
'''
    functions = dict(public_functions(ast.parse(source)))
    assert list(functions) == ["documented", "bare", "Public.method"]
    assert [arg.arg for arg in arguments(functions["bare"])] == ["x", "y"]
