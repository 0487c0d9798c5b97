"""Locks of output folders: one process at a time, whatever becomes of it."""

import os
import subprocess
import sys
import threading
from unittest.mock import patch

import pytest
from kill_and_resume import REPOSITORY

from utils import locks
from utils.errors import UserError
from utils.locks import lock_folder, lock_output

HOLD = "import sys; from utils.locks import *; lock = {}; lock.__enter__(); print('held', flush=True); {}"


def hold(lock, then="sys.stdin.read(); lock.__exit__(None, None, None)"):
    """Start a process that holds a lock, such as "lock_folder('a', '--out')", until its stdin is closed or killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(lock, then)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"held\n"
    return process


def take(folder):
    with lock_folder(folder, "--out"):
        return sorted(os.listdir(folder))


def test_a_second_process_is_told_who_holds_the_folder_and_what_to_do(tmp_path):
    folder = tmp_path / "run"
    holder = hold(f"lock_folder({str(folder)!r}, '--out')")
    message = rf"^{folder} is in use by process {holder.pid} on {os.uname().nodename} \(-c\): wait .* another .* --out$"
    with pytest.raises(UserError, match=message):
        take(folder)
    holder.communicate()
    assert holder.returncode == 0 and not folder.exists()  # it had made the folder and left nothing in it
    assert take(folder) == [".lock"] and not folder.exists()


def test_a_holder_that_has_just_begun_is_named_as_well(tmp_path):
    file = locks.try_lock(tmp_path / ".lock")
    late = threading.Timer(0.2, locks._write_holder, [file])
    late.start()
    try:
        with patch.dict(locks._locked, clear=True), pytest.raises(UserError, match=rf"by process {os.getpid()} "):
            take(tmp_path)
    finally:
        late.join()
        locks.unlock(file)


def test_the_lock_of_a_killed_process_is_free_and_its_file_is_removed_by_the_next(tmp_path):
    holder = hold(f"lock_folder({str(tmp_path)!r}, '--out')")
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").exists()
    assert take(tmp_path) == [".lock"] and not os.listdir(tmp_path)


def test_forked_children_that_outlive_a_killed_process_hold_nothing(tmp_path):
    holder = hold(
        f"lock_folder({str(tmp_path)!r}, '--out')", "import os, time; os.fork(); os.write(1, b'1\\n'); time.sleep(20)"
    )
    assert holder.stdout.readline() == b"1\n" == holder.stdout.readline()  # parent and child
    holder.kill()
    holder.wait()
    take(tmp_path)


def test_a_link_to_the_folder_is_the_folder_and_neighbours_are_not(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    holder = hold(f"lock_folder({str(tmp_path / 'run')!r}, '--out')")
    with pytest.raises(UserError, match="link is in use by process"):
        take(tmp_path / "link")
    assert take(tmp_path / "other") == [".lock"]
    with lock_output(tmp_path / "run", "--out"):  # files run.npz, run.csv beside the folder
        pass
    holder.communicate()


def test_names_of_files_are_locked_one_by_one(tmp_path):
    holder = hold(f"lock_output({str(tmp_path / 'new' / 'a')!r}, '--out')")
    with pytest.raises(UserError, match=f"{tmp_path}/new/a is in use by process {holder.pid} .*choose another --out"):
        lock_output(tmp_path / "new/a", "--out").__enter__()
    with lock_output(tmp_path / "new/b", "--out"):
        pass
    holder.communicate()
    assert not (tmp_path / "new").exists()


def test_one_process_may_nest_its_locks_and_the_outer_one_holds(tmp_path):
    with lock_folder(tmp_path, "--out"):
        with lock_folder(tmp_path, "--out"):
            pass
        with pytest.raises(AssertionError):
            hold(f"lock_folder({str(tmp_path)!r}, '--out')")


def test_of_many_that_start_at_once_one_after_the_other_holds_it(tmp_path):
    """The name is removed at the end of each: none may lock a file that is no longer there."""
    inside, most, done = [], [], []

    def work():
        while True:
            file = locks.try_lock(tmp_path / "lock")
            if file is not None:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                locks.unlock(file)
                done.append(1)
                return

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 20 and max(most) == 1


@pytest.mark.parametrize("number", locks.NO_LOCKS)
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, capsys, number):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert take(tmp_path / "a") == []
    assert "has no locks" in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_what_is_no_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file/below", "/proc/nothing"):
        with pytest.raises(UserError, match=r"can't be written .*choose another folder with --out"):
            take(folder)
    assert (tmp_path / "file").read_text() == "mine"
