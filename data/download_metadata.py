"""Download AudioSet's lists: three segment files, the names of the classes, the ontology.

    python data/download_metadata.py                              # all five, 110 MB, into data/data_infos
    python data/download_metadata.py --files eval labels ontology
    python data/download_metadata.py --from ~/Downloads           # the same from a folder, without a network

A file takes its name once its format and its number of entries are verified. Existing files are never replaced.
"""

import argparse
import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.lists.segments import iter_segments, read_class_labels
from dataset.making.text import count_text, printable
from evaluation.measures import ontology
from utils.errors import UserError, exit_on_user_error
from utils.files import atomic_write

CSV_URL = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
ONTOLOGY_URL = "https://raw.githubusercontent.com/audioset/ontology/master/"
TIMEOUT = 30  # of a connection and of each read, seconds
PAUSES = (1, 3)  # before the second and the third try, seconds
MAX_BYTES = 10**9  # a longer file is not AudioSet's
CHUNK_BYTES = 2**18  # read at a time
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # another try doesn't help


class AudioSetList(NamedTuple):
    """One of the files.

    Attributes:
        name: file name.
        folder: URL of its folder.
        count: counts the entries of a file, and refuses one with another format by a UserError.
        entries: how many there must be.
    """

    name: str
    folder: str
    count: Callable[[Path], int]
    entries: int


def count_segments(path: Path) -> int:
    """Count the rows of the segment file `path`, read one by one."""
    return sum(1 for _ in iter_segments(path))


def count_labels(path: Path) -> int:
    """Count the classes of `path`, a class_labels_indices.csv."""
    return len(read_class_labels(path))


def count_classes(path: Path) -> int:
    """Count the classes of `path`, an ontology.json."""
    return len(ontology.load_ontology(path).names)


LISTS = {
    "eval": AudioSetList("eval_segments.csv", CSV_URL, count_segments, 20_371),
    "balanced": AudioSetList("balanced_train_segments.csv", CSV_URL, count_segments, 22_160),
    "unbalanced": AudioSetList("unbalanced_train_segments.csv", CSV_URL, count_segments, 2_041_789),
    "labels": AudioSetList("class_labels_indices.csv", CSV_URL, count_labels, 527),
    "ontology": AudioSetList("ontology.json", ONTOLOGY_URL, count_classes, 632),
}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and get the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("data/data_infos"), metavar="DIR", help="folder [data/data_infos]")
    source = "copy the files from this folder and verify them\n[they are downloaded]"
    add("--from", dest="source", type=Path, metavar="DIR", help=source)
    files = f"which files: {', '.join(LISTS)} [all]"
    add("--files", nargs="+", choices=LISTS, default=list(LISTS), metavar="NAME", help=files)
    args = parser.parse_args(argv)
    if args.source and not args.source.is_dir():
        raise UserError(f"--from {args.source} is not a folder: give the one that holds the files")
    get_lists([LISTS[name] for name in dict.fromkeys(args.files)], args.out, args.source)


def get_lists(lists: Iterable[AudioSetList], out: Path, source: Path | None = None) -> None:
    """Download or copy lists to a folder, unless they exist there; one that fails doesn't stop the others.

    Args:
        lists: which ones.
        out: folder for them; it is created.
        source: folder to copy them from; None downloads them.

    Raises:
        UserError: some failed; all others are complete.
    """
    lists = list(lists)
    make_folder(out)
    failed = {}
    for wanted in lists:
        try:
            print(f"{wanted.name}: {get_list(wanted, out / wanted.name, source)}")
        except UserError as error:
            failed[wanted.name] = str(error)
            print(f"{wanted.name}: failed")
    if failed:
        other = "leave them out with --files" if source else "give a folder that has them with --from"
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"{len(failed)} of the {count_text(len(lists), 'file')} asked for failed ({reasons}): fix this and rerun, "
            f"or {other}"
        )


def get_list(wanted: AudioSetList, path: Path, source: Path | None = None) -> str:
    """Make sure that a list is complete and verified at a path.

    Args:
        wanted: the list.
        path: where it belongs.
        source: folder to copy it from; None downloads it.

    Returns:
        A few words on what was done.

    Raises:
        UserError: it can't be downloaded or read, or isn't AudioSet's; then nothing new is at `path`.
    """
    if os.path.lexists(path):
        try:
            verify(wanted, path)
        except UserError as error:
            raise UserError(f"{path} exists, but is not AudioSet's and was left alone: {error}") from None
        return f"already exists, {wanted.entries:,} entries, left alone"
    try:
        with atomic_write(path) as file:
            if source:
                copy_file(source / wanted.name, file)
            else:
                download(wanted.folder + wanted.name, file)
            file.flush()
            verify(wanted, Path(file.name))
    except OSError as error:
        raise UserError(f"it can't be written to {path.parent} ({error.strerror})") from None
    return f"{wanted.entries:,} entries, verified"


def verify(wanted: AudioSetList, path: Path) -> None:
    """Check that the file `path` has the format and the number of entries of the list `wanted`. Raises UserError."""
    try:
        entries = wanted.count(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), wanted.name)) from None
    if entries != wanted.entries:
        raise UserError(f"{wanted.name} has {entries:,} entries instead of {wanted.entries:,}")


def copy_file(source: Path, out: BinaryIO) -> None:
    """Copy the file `source` to `out`. Raises UserError if it can't be read, OSError if the copy can't be written."""
    try:
        file = open(source, "rb")  # noqa: SIM115 - an error of opening belongs to the source, not to the copy
    except OSError as error:
        raise UserError(f"{source} can't be read ({error.strerror})") from None
    with file:
        shutil.copyfileobj(file, out, CHUNK_BYTES)


def download(url: str, out: BinaryIO, pauses: tuple[float, ...] = PAUSES, timeout: float = TIMEOUT) -> None:
    """Download a file, with a few tries where one may help.

    Args:
        url: of the file.
        out: file to write to.
        pauses: seconds before each further try.
        timeout: of a connection and of each read, seconds.

    Raises:
        UserError: it can't be downloaded, or not completely.
        OSError: it can't be written to the disk.
    """
    for pause in (*pauses, None):
        try:
            return _download_once(url, out, timeout)
        except urllib.error.HTTPError as error:
            reason = f"{url} answered {error.code}"
            if error.code not in (408, 429) and error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK_ERRORS:
                raise
            cause = getattr(error, "reason", error)
            text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            reason = f"{url} can't be reached ({printable(text[:120])})"
        except EOFError as error:
            reason = f"{url} {error}"
        if pause is not None:
            time.sleep(pause)
    raise UserError(reason)


def _download_once(url: str, out: BinaryIO, timeout: float) -> None:
    """Download once, without retries. Raises urllib's errors, and EOFError if the file is shorter than announced."""
    out.seek(0)
    out.truncate()
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        announced = answer.headers.get("Content-Length", "")
        length, received = int(announced) if announced.isascii() and announced.isdigit() else None, 0
        # disable=None: no bar if stderr is not a terminal.
        name = url.rpartition("/")[2]
        with tqdm(total=length, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while chunk := answer.read(CHUNK_BYTES):
                out.write(chunk)
                bar.update(len(chunk))
                received += len(chunk)
                if received > MAX_BYTES:
                    raise UserError(f"{url} sends more than a gigabyte: it is not AudioSet's file")
    if length is not None and received < length:  # urllib doesn't report it
        raise EOFError(f"is truncated after {received:,} of {length:,} bytes")


def make_folder(path: Path) -> None:
    """Create the folder `path` and those above it. Raises UserError if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"folder {path} can't be made ({error.strerror}): choose another with --out") from None


if __name__ == "__main__":
    with exit_on_user_error():
        main()
