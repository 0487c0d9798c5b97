"""docs/results.md: its rows by name, and the hash of the weights that came out."""

import re
from pathlib import Path

import pytest
from helpers import small_checkpoint

from docs import results
from utils.errors import UserError

ROOT = Path(__file__).parent.parent


def test_the_page_lists_the_rows_that_can_be_reproduced(capsys, monkeypatch):
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "results.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert named == [training.name for training in results.TRAININGS.values()]
    monkeypatch.setattr("sys.argv", ["results", "--list"])
    results.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == named


def test_a_row_trains_what_it_starts_from_and_prints_its_weights(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(results, "train_and_evaluate", lambda seed, folder, root, wanted: asked.append((seed, wanted)))
    path = small_checkpoint(tmp_path / "1" / "AVOL-Net_from_AVE-Net" / "best.pt", **{"model.name": "AVOLNet"})
    results.reproduce("avol_net", [1], tmp_path, "data/demo")
    assert asked == [(1, ["AVE-Net", "AVOL-Net, from AVE-Net"])]
    assert f"weights {results.weights_hash(path)}" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no row 'nothing': the rows are l3_net"):
        results.reproduce("nothing", [0], tmp_path, "data/demo")


def test_the_hash_is_that_of_the_weights_alone(tmp_path):
    one = results.weights_hash(small_checkpoint(tmp_path / "a.pt"))
    assert one == results.weights_hash(small_checkpoint(tmp_path / "b.pt", **{"train.epochs": 7}))
    assert one != results.weights_hash(small_checkpoint(tmp_path / "c.pt", seed=1)) and len(one) == 16
