"""Training clips of videos that a benchmark measures on are told of, whatever clips and lists are called."""

import pytest
from helpers import make_dataset, write_json

from configs.schema import Config, Data, Train
from dataset.data_module import AVCDataModule
from dataset.making.splits.benchmark_leaks import find_benchmark_leaks, find_benchmark_lists
from utils.errors import UserError

VIDEO, OTHER = "dQw4w9WgXcQ", "abcdefghijk"
ADVICE = "leave them out with data/train_val_split_small.py --exclude"


@pytest.mark.parametrize("clip", [
    VIDEO, f"{VIDEO}_000030", f"{VIDEO}_30", f"{VIDEO}_90_100", f"{VIDEO}_30.000_40.000", f"A title [{VIDEO}]",
    f"{VIDEO}-2",
])  # fmt: skip
def test_any_cut_of_a_benchmarks_video_leaks(tmp_path, clip):
    write_json(tmp_path / "vggss.json", [{"file": f"{VIDEO}_000010", "class": "x", "bbox": []}])
    (path,) = find_benchmark_lists(tmp_path)
    assert find_benchmark_leaks([clip, OTHER, f"{OTHER}_000010"], [path]) == [
        f"1 clip of train is of a video in {path}, such as {clip}: {ADVICE}"
    ]


@pytest.mark.parametrize("row", [f"{VIDEO}_30", f"{VIDEO}_90_100", f"{VIDEO}_000030.mp4", f"{VIDEO}_1.000_2.000"])
def test_a_row_in_any_spelling_names_its_video(tmp_path, row):
    (tmp_path / "ids.txt").write_text(f"{row}\nmy_film_1.000_2.000\n")
    (told,) = find_benchmark_leaks([f"{VIDEO}_000010", "my_film", OTHER], [tmp_path / "ids.txt"])
    assert told.startswith("2 clips of train are of videos in")


def test_names_that_only_look_alike_are_no_leak(tmp_path):
    (tmp_path / "list.csv").write_text(f"{VIDEO}\nmy_film\n")
    clips = [f"{VIDEO}x", f"x{VIDEO}", VIDEO.lower(), "my_film 2", "my"]
    assert find_benchmark_leaks(clips, [tmp_path / "list.csv"]) == []
    assert len(find_benchmark_leaks(["my_film_1.000_2.000"], [tmp_path / "list.csv"])) == 1


def test_the_training_part_of_a_list_is_no_benchmark(tmp_path):
    (tmp_path / "list.csv").write_text(f"{VIDEO},0,dog barking,train\n{OTHER},0,dog barking,test\n")
    (told,) = find_benchmark_leaks([VIDEO, OTHER], [tmp_path / "list.csv"])
    assert told.startswith("1 clip of train is of a video in ") and f"such as {OTHER}:" in told


def test_lists_are_files_of_benchmarks_and_vggss_json_of_a_local_folder(tmp_path):
    assert find_benchmark_lists(tmp_path) == find_benchmark_lists(tmp_path / "none") == []
    for name in ("vggss.json", "benchmarks/b.csv", "benchmarks/a.txt", "benchmarks/.hidden", "benchmarks/README.md",
                 "benchmarks/folder/c.csv", "other.csv"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(VIDEO)
    found = [str(path.relative_to(tmp_path)) for path in find_benchmark_lists(str(tmp_path))]
    assert found == ["benchmarks/a.txt", "benchmarks/b.csv", "vggss.json"]
    assert find_benchmark_lists("s3://bucket/shards") == find_benchmark_lists("https://host/shards") == []


def test_training_warns_of_leaks_and_refuses_a_broken_list(tmp_path):
    make_dataset(tmp_path, train=4, val=2, test=0, boxes=False)
    config = Config(data=Data(root=str(tmp_path)), train=Train(batch_size=2, workers=0))
    (small,) = AVCDataModule(config, "cpu").warnings
    assert small.startswith("val has 2 clips")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "mine.txt").write_text("train_0001\ntrain_0003\nval_0000\n")
    _, leak = AVCDataModule(config, "cpu").warnings
    assert leak == f"warning: 2 clips of train are of videos in benchmarks/mine.txt, such as train_0001: {ADVICE}"
    (tmp_path / "benchmarks" / "mine.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"mine\.txt is not a text file in UTF-8"):
        AVCDataModule(config, "cpu")
