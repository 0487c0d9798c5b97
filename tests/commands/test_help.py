"""--help answers at once: what takes seconds to import is imported after the command line is parsed."""

import subprocess
import sys

import pytest
from kill_and_resume import REPOSITORY, one_thread

SCRIPTS = sorted(path.name for path in REPOSITORY.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
COMMANDS = sorted(f"data/{path.name}" for path in (REPOSITORY / "data").glob("*.py") if not path.name.startswith("_"))
SLOW = {"torch", "matplotlib", "pandas", "sklearn", "timm", "cv2"}  # to import
RUN = """
import atexit, runpy, sys
script, *slow = sys.argv[1:]
atexit.register(lambda: print("imported:", *sorted({*slow} & {*sys.modules}), file=sys.stderr))
sys.argv = [script, "--help"]
sys.path[0] = script.rpartition("/")[0] or "."
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize("script", [*SCRIPTS, *COMMANDS])
def test_help_is_printed_before_anything_slow_is_imported(script):
    slow = [*SLOW, "scipy"] if script in SCRIPTS else SLOW
    words = [sys.executable, "-c", RUN, script, *slow]
    done = subprocess.run(words, cwd=REPOSITORY, env=one_thread(), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "imported:\n")
    name = script.rpartition("/")[2]
    assert done.stdout.startswith(f"usage: {name} [-h]") and done.stdout.count("--") > 3


@pytest.mark.parametrize("words", [["eval.py", "--no_such", "--help"], ["train_AVENet.py", "--config", "no.py", "-h"]])
def test_a_mistake_beside_help_is_one_sentence(words):
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, env=one_thread(), text=True, capture_output=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
