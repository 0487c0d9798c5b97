"""Two processes never write to the same folder: of each script, the second is refused in one sentence."""

import re
import subprocess
import sys

import pytest
from kill_and_resume import REPOSITORY, command, one_thread
from training import contents, one_sentence

from tests.campaign import material
from tests.campaign.material import make_material

SCRIPTS = (
    "train_AVENet", "eval", "embed", "separate", "data/build_shards", "data/train_val_split_small",
    "data/make_demo_data", "data/check_data", "data/select_data_by_genre",
)  # fmt: skip
HOLD = "import sys; from utils.locks import *; lock = {}; lock.__enter__(); print(flush=True); sys.stdin.read()"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A dataset, a folder of videos, AudioSet's lists, and checkpoints."""
    make_material(root := tmp_path_factory.mktemp("source"))
    return root


def words_of(name, source, out):
    """The words that start a script which writes to the folder `out`."""
    if name == "data/check_data":
        return command("data/check_data.py", {"workers": 1, "move_bad": out}, source / "clips")
    return material.words_of(name, source, out)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_folder_that_another_process_holds_is_refused_and_free_after_its_kill(script, source, tmp_path, name):
    out = tmp_path / "out"
    lock = f"lock_output('{out}/emb', '--out')" if name == "embed" else f"lock_folder('{out}', '--out')"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(lock)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"\n"
    before = contents(out)
    done = script(words_of(name, source, out))
    assert one_sentence(done, out, f"is in use by process {holder.pid} on ", "choose another")
    assert contents(out) == before
    holder.kill()
    holder.wait()
    done = script(words_of(name, source, out))
    assert done.returncode == 0, done.stderr
    left = [path for path in out.rglob("*") if path.is_file()]
    assert bool(left) == (name != "data/check_data")  # no clip is bad
    assert not any(path.name.endswith(".lock") for path in left)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_of_two_that_start_at_once_one_is_refused_and_the_other_ends_as_alone(script, source, tmp_path, name):
    out, alone = tmp_path / "out", tmp_path / "alone"
    processes = [
        subprocess.Popen(
            words_of(name, source, out), cwd=REPOSITORY, env=one_thread(), text=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) in ([0, 2], [0, 0]), errors  # 0, 0: one began when the other had ended, and found its work
    if 2 in codes:
        said = errors[codes.index(2)].strip().splitlines()[-1]
        assert re.search(r"is in use by (process \d+|another process)|already holds a run|already exists", said), said
    assert script(words_of(name, source, alone)).returncode == 0
    files, expected = ({path.relative_to(root) for path in contents(root)} for root in (out, alone))
    assert {file for file in files ^ expected if "tensorboard" not in file.parts} == set()
