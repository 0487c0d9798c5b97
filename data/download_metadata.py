"""Get AudioSet's lists: three segment files, the names of the classes, and the ontology.

    python data/download_metadata.py                              # all five, 110 MB, into data/data_infos
    python data/download_metadata.py --files eval labels ontology
    python data/download_metadata.py --from ~/Downloads           # the same from files at hand, without a network

A file takes its name only when its form and its number of rows are AudioSet's. What is there already is never replaced.
"""

import argparse
import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.segments import iter_segments, printable, read_class_labels
from evaluation.measures import ontology
from utils.errors import UserError, exit_on_user_error

CSV = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
ONTOLOGY = "https://raw.githubusercontent.com/audioset/ontology/master/"
TIMEOUT = 30  # of a connection and of each read, seconds
PAUSES = (1, 3)  # before the second and the third try, seconds
LARGEST = 10**9  # a file that doesn't end there is not AudioSet's, bytes
PIECE = 2**18  # bytes read at a time
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # errors of writing: no try helps


class List(NamedTuple):
    """One of the files: its name, the address of its folder, how its entries are counted, how many there must be."""

    name: str
    folder: str
    count: callable
    entries: int


def segments_in(path):
    """Rows of a segment file, read one by one."""
    return sum(1 for _ in iter_segments(path))


def labels_in(path):
    """Classes of class_labels_indices.csv."""
    return len(read_class_labels(path))


def classes_in(path):
    """Classes of ontology.json."""
    return len(ontology.load_ontology(path).names)


LISTS = {
    "eval": List("eval_segments.csv", CSV, segments_in, 20_371),
    "balanced": List("balanced_train_segments.csv", CSV, segments_in, 22_160),
    "unbalanced": List("unbalanced_train_segments.csv", CSV, segments_in, 2_041_789),
    "labels": List("class_labels_indices.csv", CSV, labels_in, 527),
    "ontology": List("ontology.json", ONTOLOGY, classes_in, 632),
}


def get_all(lists, out, source=None):
    """Put each of the lists into a folder, or leave it alone if it is there; one that fails doesn't stop the others.

    Args:
        lists: of `List`. out: Path of the folder; it is made.
        source: Path of a folder to copy them from; None downloads them.

    Raises:
        UserError: some failed; all others are there.
    """
    make_folder(out)
    failed = {}
    for wanted in lists:
        try:
            print(f"{wanted.name}: {get(wanted, out / wanted.name, source)}")
        except UserError as error:
            failed[wanted.name] = str(error)
            print(f"{wanted.name}: failed")
    if failed:
        other = "leave them out with --files" if source else "name a folder that has them with --from"
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"{len(failed)} of the {len(lists)} files asked for failed ({reasons}): put that right and run it again, "
            f"or {other}"
        )


def get(wanted, path, source=None):
    """Make sure that a list lies at `path`, whole and verified; returns a few words on what was done.

    Raises:
        UserError: it can't be had, or isn't AudioSet's; then nothing new lies at `path`.
    """
    if os.path.lexists(path):
        try:
            verify(wanted, path)
        except UserError as error:
            raise UserError(f"{path} is there, but is not AudioSet's and was left alone: {error}") from None
        return f"is there already, {wanted.entries:,} entries, left alone"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if source:
            copy(source / wanted.name, temporary)
        else:
            download(wanted.folder + wanted.name, temporary)
        verify(wanted, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"it can't be written to {path.parent} ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return f"{wanted.entries:,} entries, verified"


def verify(wanted, path):
    """Check that a file has the form and the number of entries of the list. Raises UserError."""
    try:
        found = wanted.count(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), wanted.name)) from None
    if found != wanted.entries:
        raise UserError(f"{wanted.name} has {found:,} entries in the place of {wanted.entries:,}")


def copy(source, path):
    """Copy a file at hand. Raises UserError if it can't be read, OSError if the copy can't be written."""
    try:
        file = open(source, "rb")  # noqa: SIM115 - an error of opening is the source's, not the copy's
    except OSError as error:
        raise UserError(f"{source} can't be read ({error.strerror})") from None
    with file, open(path, "wb") as out:
        shutil.copyfileobj(file, out, PIECE)


def download(address, path, pauses=PAUSES, timeout=TIMEOUT):
    """Download a file, with a few tries where one may help.

    Args:
        pauses: seconds before each further try. timeout: of a connection and of each read, seconds.

    Raises:
        UserError: it didn't come, or not whole. OSError: it can't be written to the disk.
    """
    for pause in (*pauses, None):
        try:
            return fetch(address, path, timeout)
        except urllib.error.HTTPError as error:
            reason = f"{address} answered {error.code}"
            if error.code not in (408, 429) and error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK:
                raise
            cause = getattr(error, "reason", error)
            cause = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            reason = f"{address} can't be reached ({printable(cause[:120])})"
        except EOFError as error:
            reason = f"{address} {error}"
        if pause is not None:
            time.sleep(pause)
    raise UserError(reason)


def fetch(address, path, timeout):
    """One try of a download. Raises what urllib does; EOFError if less came than was announced."""
    with urllib.request.urlopen(address, timeout=timeout) as answer, open(path, "wb") as out:
        length = answer.headers.get("Content-Length", "")
        length, got = int(length) if length.isascii() and length.isdigit() else None, 0
        # disable=None: no bar where nobody looks.
        name = address.rpartition("/")[2]
        with tqdm(total=length, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while piece := answer.read(PIECE):
                out.write(piece)
                bar.update(len(piece))
                got += len(piece)
                if got > LARGEST:
                    raise UserError(f"{address} sends more than a gigabyte: it is not the file it should be")
    if length is not None and got < length:  # urllib says nothing of it
        raise EOFError(f"broke off after {got:,} of {length:,} bytes")


def make_folder(path):
    """Make a folder and those above it. Raises UserError if that can't be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"folder {path} can't be made ({error.strerror}): choose another with --out") from None


def main(argv=None):
    """Read the command line and get the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("data/data_infos"), help="folder (data/data_infos)")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR",
                        help="copy the files from this folder and verify them (they are downloaded)")  # fmt: skip
    parser.add_argument("--files", nargs="+", choices=LISTS, default=list(LISTS), help="which of them (all)")
    args = parser.parse_args(argv)
    if args.source and not args.source.is_dir():
        raise UserError(f"--from {args.source} is not a folder: name the one that holds the files")
    get_all([LISTS[name] for name in dict.fromkeys(args.files)], args.out, args.source)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
