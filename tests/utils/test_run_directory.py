"""The directory of a run: never overwritten, resumed only as it was begun, skipped clips listed in it."""

import dataclasses
import json

import pytest
from toy_training import config, lines, train

from configs.schema import Config
from utils import checkpoint
from utils.config import from_dict
from utils.errors import UserError
from utils.run import Run

# --------------------------------------------------------------------------------------------------- run directory


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "log.jsonl"])
def test_a_directory_that_holds_a_run_is_never_overwritten(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_bytes(b"precious")
    with pytest.raises(UserError, match=rf"run already holds a run \({name}\): resume .*--resume.*--train\.run_dir"):
        Run(config(tmp_path))
    assert (folder / name).read_bytes() == b"precious" and len(list(folder.iterdir())) == 1


def test_a_finished_run_is_refused_and_stays_as_it_is(tmp_path):
    train(config(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="already holds a run"):
        train(config(tmp_path))
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_start_that_failed_before_its_first_step_holds_no_run(tmp_path):
    Run(config(tmp_path))
    Run(config(tmp_path))


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    train(config(tmp_path))
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.5}, {"grad_accum_steps": 2}, {"ema": 0.9}, {"seed": 1}, {"schedule": "cosine"}, {"batch_size": 64}],
)
def test_a_run_is_not_resumed_with_settings_that_change_what_it_learns(tmp_path, change):
    train(config(tmp_path))
    (name, value), *_ = change.items()
    with pytest.raises(UserError, match=rf"started with train\.{name} \S+, not {value}: resume it with the same"):
        Run(config(tmp_path, **change), resume=True)
    other = dataclasses.replace(config(tmp_path), model=dataclasses.replace(Config().model, width=8))
    with pytest.raises(UserError, match=r"model\.width 64, not 8"):
        Run(other, resume=True)


def test_a_run_is_resumed_with_settings_that_change_where_it_reads_and_how_long_it_runs(tmp_path):
    train(config(tmp_path))
    moved = config(tmp_path, epochs=9, max_minutes=3.0, workers=0, log_every=7, save_every=8)
    moved = dataclasses.replace(moved, data=dataclasses.replace(moved.data, root="elsewhere", cache_gb=2.0))
    run = Run(dataclasses.replace(moved, eval=dataclasses.replace(moved.eval, k=5)), resume=True)
    assert run.resumed["step"] == 12
    assert from_dict(json.loads((tmp_path / "run/config.json").read_text())).train.epochs == 9


def test_a_damaged_last_pt_is_one_sentence(tmp_path):
    train(config(tmp_path))
    last = tmp_path / "run/last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.pt is damaged"):
        Run(config(tmp_path), resume=True)


def test_a_copy_of_best_pt_cannot_be_resumed_and_says_so(tmp_path):
    train(config(tmp_path))
    (tmp_path / "run/last.pt").write_bytes((tmp_path / "run/best.pt").read_bytes())
    with pytest.raises(UserError, match=r"last\.pt can't be resumed.*--model\.init_from"):
        Run(config(tmp_path), resume=True)


def test_a_run_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"run can't be written .*--train\.run_dir"):
        Run(config(tmp_path))


# ---------------------------------------------------------------------------------------------------- skipped clips


class Split:
    def __init__(self, **skipped):
        self.skipped = skipped


def test_skipped_clips_are_listed_once_each_also_over_a_resume(tmp_path, capsys):
    for resume in (False, True):
        run = Run(config(tmp_path), resume)
        skipped = run.skip_handler("skip", {"train": Split(a="a has no sound"), "val": Split()})
        skipped("b", "b is damaged")
        skipped("b", "b is damaged")
        run.write("train", 0, loss=1.0)
        run.close()
        found = [(line["clip"], line["reason"]) for line in lines(tmp_path, "skipped")]
        assert found == [("a", "a has no sound"), ("b", "b is damaged")]
        if not resume:
            train_later(run)
    assert "skipped (2): b is damaged" in capsys.readouterr().err


def train_later(run):
    """Leave a checkpoint to resume from, as the loop would."""
    settings = dataclasses.asdict(run.config)
    checkpoint.save(run.last, {"config": settings, "step": 1, "optimizer": {}, "model": {}})


def test_a_clip_that_cannot_be_read_stops_the_run_by_default(tmp_path):
    with pytest.raises(UserError, match="a has no sound"):
        Run(config(tmp_path)).skip_handler("stop", {"train": Split(a="a has no sound")})
