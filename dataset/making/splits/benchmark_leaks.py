"""Find training clips of videos that a benchmark measures on: lists in ROOT/benchmarks/, and ROOT/vggss.json."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset.making.lists.list_index import listed_videos, read_name
from dataset.making.lists.segments import youtube_id
from dataset.making.lists.video_lists import read_list
from dataset.making.text import count_text, printable
from dataset.reading.remote import is_url

FOLDER, VGGSS = "benchmarks", "vggss.json"
NOT_LISTS = (".md", ".tmp")  # files beside lists
ADVICE = "leave them out with data/train_val_split_small.py --exclude"


def find_benchmark_lists(root: Path | str) -> list[Path]:
    """Find the benchmark lists of a dataset: every file of ROOT/benchmarks/ that is no .md file, and ROOT/vggss.json.

    Args:
        root: folder of the dataset; none are looked for at a URL.

    Returns:
        Their paths, sorted.
    """
    if is_url(root):
        return []
    root = Path(root)
    folder = root / FOLDER
    files = folder.iterdir() if folder.is_dir() else ()
    lists = [path for path in files if not path.name.startswith(".") and path.suffix not in NOT_LISTS]
    return sorted(path for path in (*lists, root / VGGSS) if path.is_file())


def find_benchmark_leaks(clips: Sequence[str], lists: Iterable[Path], split: str = "train") -> list[str]:
    """Describe which training clips are of videos in benchmark lists, each list in one sentence.

    Of a list with parts, such as VGGSound's, the training part is no benchmark.

    Args:
        clips: ids of the training clips.
        lists: paths of lists of any format, see `read_list`.
        split: name of the split, for the message.

    Raises:
        UserError: a list can't be read.
    """
    measured_by = {path: _measured_videos(path) for path in lists}
    if not measured_by:  # names of millions of clips take a while
        return []
    videos_of = {clip: {clip, youtube_id(clip), *(video for video, _, _ in read_name(clip))} for clip in clips}
    sentences = []
    for path, measured in measured_by.items():
        leaking = sorted(clip for clip, videos in videos_of.items() if not measured.isdisjoint(videos))
        if leaking:
            are = "is of a video" if len(leaking) == 1 else "are of videos"
            name = printable(f"{path.parent.name}/{path.name}" if path.parent.name == FOLDER else str(path))
            clips_of = f"{count_text(len(leaking), 'clip')} of {split} {are} in {name}"
            sentences.append(f"{clips_of}, such as {printable(leaking[0])}: {ADVICE}")
    return sentences


def _measured_videos(path: Path) -> set[str]:
    return listed_videos(segment for segment in read_list(path).segments if segment.part != "train")
