"""Which clips are cut from the same recording: by their names, a regular expression, or a list.

Clips of one recording share its room, players and instruments, so they must lie on the same side of a split. By
default names tell:

- YouTube ids, if most names of that form look like ids: `dQw4w9WgXcQ`, `dQw4w9WgXcQ_30`, `dQw4w9WgXcQ_30.000_40.000`.
- Else the name before its last numbers or times: guitar_solo_01 and guitar_solo_02 are guitar_solo. What a camera
  counts (IMG_0001, DSC_0042) and dates (2019-05-03 12.00.01) belong to the name; chapters of a GoPro video are one.
- If that leaves one numbered name only (instruments_0001 to instruments_0020), the number tells recordings apart.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataset.making.lists.segments import YOUTUBE_ID
from dataset.making.text import count_text
from dataset.reading.annotations import load_json
from dataset.reading.errors import error_reason
from dataset.reading.names import normalize_name
from utils.errors import UserError
from utils.files import read_text

NameRule = Literal["all numbers", "last number", "whole name"]  # what isn't part of a recording's name
NAME_RULES: tuple[NameRule, ...] = ("all numbers", "last number", "whole name")

NUMBER = r"\d+(?:[.:]\d+)*(?:ms|s|min|m\d+s?)?"
CUT_OF_ID = re.compile(rf"({YOUTUBE_ID.pattern})(?:[_.-]{NUMBER}(?:[_-]{NUMBER})?)?")
ID_IN_BRACKETS = re.compile(rf"\[({YOUTUBE_ID.pattern})\]")  # as yt-dlp names files: "TITLE [ID].mp4"
# Names that are words and numbers, such as instruments, video000012, Guitar-Solo: a random id of 64 letters hardly
# ever has this form.
WORDS = re.compile(r"(?:[A-Z]?[a-z]*|[A-Z]+|(?:[A-Z][a-z]{2,})+|\d+)(?:[_-]+(?:[A-Z]?[a-z]+|[A-Z]+|\d+))*[_-]*\d*")
# A last number or time, and what introduces it: _01, -take 2, (3), _part_4, .c05, _30.000.
COUNT_WORD = r"(?:part|pt|take|clip|cut|segment|seg|scene|shot|chunk|sample|excerpt|teil|no|nr|[cpst])"
LAST_NUMBER = re.compile(rf"[\s_.\-–#(\[]+(?:{COUNT_WORD}[\s_.\-#]*)?{NUMBER}[)\]]?$", re.IGNORECASE)
DIGITS = re.compile(r"(?<=\D)\d+$")
RANGE = re.compile(r"[\s_.-]+(\d+(?:\.\d+)?)s?[_-](\d+(?:\.\d+)?)s?$")  # from one second to another
CLOCK = re.compile(r"[\s_.-]+\d{1,2}([-_.:])[0-5]\d\1[0-5]\d$")  # 00_01_30
# What belongs to a name although it is a number: what cameras count, and dates.
CAMERA = re.compile(
    r"(?i:IMG|DSC|DSCN|DSCF|DSCI|MVI|VID|PXL|DJI|CIMG|PICT|IMAG|MOVI)_?E?\d{4,8}(?!\d)|(?:MOV|SAM|WP)_?\d{4,8}(?!\d)|"
    r"_DSC\d{4}|_MG_\d{4}|MAH\d{5}|(?i:M2U)\d{5}|P\d{7}|C\d{4}(?!\d)"
)
GOPRO = re.compile(r"(?:GOPR|GP\d\d|G[HXLS]\d\d)(\d{4})(?!\d)", re.IGNORECASE)
DATE = (
    r"(?:(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_.])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)"
)
# With seconds, or in a form that no cut from one second to another has; no time begins with 00, but counters do.
TIME_OF_DAY = (
    r"(?:[\s_T-]*(?:at |um )?(?:0[1-9]|1\d|2[0-3])"
    r"(?:([-_.:h]?)[0-5]\d(?:\3|m)[0-5]\d(?:[._-]?\d{3,9}|\.\d{1,2})?|[.:h][0-5]\d)(?!\d))?"
)
TIMESTAMP = re.compile(rf"(?<!\d){DATE}{TIME_OF_DAY}", re.IGNORECASE)


@dataclass(frozen=True)
class Recordings:
    """Clips grouped by the recording that they are cut from.

    Attributes:
        of: {clip: name of its recording}.
        rule: the `NameRule` that names were read by; None with --group.
        by: how the clips were grouped, for messages.
    """

    of: dict[str, str]
    rule: NameRule | None
    by: str

    @property
    def count(self) -> int:
        """Number of recordings."""
        return len(set(self.of.values()))

    def only(self, clips: Iterable[str]) -> "Recordings":
        """Select some of the `clips`."""
        return Recordings({clip: self.of[clip] for clip in sorted(clips)}, self.rule, self.by)

    def describe(self) -> str:
        """Describe how many clips and recordings there are and how they were grouped, with an example."""
        clips, largest = Counter(self.of.values()), ""
        if clips and max(clips.values()) > 1:
            name, count = clips.most_common(1)[0]
            examples = sorted(clip for clip, recording in self.of.items() if recording == name)
            shown = ", ".join(examples[:2]) + (", ..." if count > 2 else "")
            largest = f": the {count} clips {shown} are one" if count > 2 else f": {shown} are one"
        counts = f"{count_text(len(self.of), 'clip')} of {count_text(self.count, 'recording')}"
        return f"{counts}, {self.by}{largest}"


def group_by_name(names: Mapping[str, str], parts: int, rule: NameRule | None = None) -> Recordings:
    """Group clips by the recording that their names tell, see above.

    The names are judged together: whether they are YouTube ids, and how many numbers at their ends count cuts. All
    numbers do, unless too few recordings would be left for the parts of a split; then the last one; then none, if the
    names differ by numbers only.

    Args:
        names: {clip: the file name to judge it by, without its suffix}; often the same.
        parts: recordings that are needed, 1 or more.
        rule: of an earlier run, to group in the same way; by default it is chosen.
    """
    names = {clip: normalize_name(name) for clip, name in names.items()}
    ids = find_youtube_ids(names.values())
    candidates = {key: _group(names, ids, key) for key in NAME_RULES}
    chosen = rule or _choose_rule(candidates, names, ids, parts)
    of = candidates[chosen]
    if ids and set(of.values()) <= ids:
        by = "by the YouTube ids in their names"
    elif chosen == "whole name":
        by = (
            "as their names differ by a number only; if some are cuts of the same recording, give --group REGEX, whose "
            "first group is the recording's name"
        )
    elif len(set(of.values())) == len(of):
        by = "as their names say"
    else:
        by = "by their names without the last number (if each is a recording of its own, give --group '.*')"
    return Recordings(of, chosen, by)


def _choose_rule(
    candidates: Mapping[NameRule, Mapping[str, str]], names: Mapping[str, str], ids: set[str], parts: int
) -> NameRule:
    """Choose by what `candidates`, the recordings by each rule, leave of the `names`."""
    fine = candidates["last number"]
    is_fine_enough = parts <= len(set(fine.values())) < len(names) and not _is_only_numbering(fine, names, ids)
    if _is_only_numbering(candidates["all numbers"], names, ids):
        return "last number" if is_fine_enough else "whole name"
    if len(set(candidates["all numbers"].values())) < parts and is_fine_enough:
        return "last number"
    return "all numbers"


def find_youtube_ids(names: Iterable[str]) -> set[str]:
    """Find the YouTube ids that file names begin with, or hold in brackets.

    A word of eleven letters has the form of an id too, so all names are judged together: what has the form is an id if
    at least half of the different ones look random.

    Args:
        names: without their suffix.

    Returns:
        The ids; empty if the names are others.
    """
    names = list(names)
    heads = {match[1] for match in map(CUT_OF_ID.fullmatch, names) if match}
    random = {head for head in heads if not WORDS.fullmatch(head)}
    ids = heads if 2 * len(random) >= len(heads) else set()
    ids |= {name[:11] for name in names if name[:11] in random and name[11:12] in ("_", "-", ".")}
    return ids | {
        match[1] for name in names for match in ID_IN_BRACKETS.finditer(name) if not WORDS.fullmatch(match[1])
    }


def recording_of(
    name: str, ids: Container[str] = (), rule: NameRule = "all numbers", ranges: Container[str] = ()
) -> str:
    """Get the name of the recording from a file's name.

    Args:
        name: without its suffix.
        ids: the names' YouTube ids, of `find_youtube_ids`.
        rule: what isn't part of a recording's name.
        ranges: names before two last numbers that are a start and an end, of `find_ranges`.
    """
    bracketed = [match[1] for match in ID_IN_BRACKETS.finditer(name) if match[1] in ids]
    if bracketed:
        return bracketed[-1]
    if name[:11] in ids and name[11:12] in ("", "_", "-", "."):
        return name[:11]
    chapter = GOPRO.match(name)
    if chapter:
        return f"GoPro {chapter[1]}"
    if rule == "whole name":
        return name.lower()
    fixed = max([match.end() for match in (CAMERA.match(name), *TIMESTAMP.finditer(name)) if match] + [0])
    stem, patterns = name, [LAST_NUMBER]
    if rule == "last number":
        range_of = RANGE.search(name)
        is_range = range_of is not None and name[: range_of.start()] in ranges
        patterns = [RANGE] if is_range else [CLOCK, LAST_NUMBER]
    for pattern in patterns:
        while (match := pattern.search(stem, fixed)) and match.start() >= max(fixed, 1):
            stem = stem[: match.start()]
            if rule == "last number":
                break
        if stem != name:
            break
    if stem == name and (match := DIGITS.search(name, fixed)) and match.start() > fixed:
        stem = name[: match.start()]
    has_letters = any(letter.isalnum() for letter in stem)
    return (stem if has_letters else name).lower()


def find_ranges(names: Iterable[str]) -> set[str]:
    """Find the names before two last numbers that are the start and the end of a cut: film of film_30_40.

    That holds where the first number is always less than the second, and most cuts have the same length.

    Args:
        names: without their suffix.
    """
    lengths: dict[str, list[float]] = {}
    for name in names:
        match = RANGE.search(name)
        if match:
            lengths.setdefault(name[: match.start()], []).append(round(float(match[2]) - float(match[1]), 3))
    return {name for name, of in lengths.items() if min(of) > 0 and 2 * Counter(of).most_common(1)[0][1] >= len(of)}


def _group(names: Mapping[str, str], ids: set[str], rule: NameRule) -> dict[str, str]:
    ranges = find_ranges(names.values())
    of = {clip: recording_of(name, ids, rule, ranges) for clip, name in names.items()}
    # Whole names that are equal are those of two files in two folders; cuts of one video may lie in both.
    return {
        clip: normalize_name(clip).lower() if of[clip] == name.lower() else of[clip] for clip, name in names.items()
    }


def _is_only_numbering(of: Mapping[str, str], names: Mapping[str, str], ids: set[str]) -> bool:
    """Whether one name, with different numbers, is that of most clips, and no other has two numbers."""
    cuts = Counter(of.values())
    several = [name for name, count in cuts.items() if count > 1]
    return len(several) == 1 and several[0] not in ids and 2 * cuts[several[0]] >= len(names)


def group_by_option(clips: Iterable[str], option: str) -> Recordings:
    """Group clips as the user says.

    Args:
        clips: ids.
        option: the value of --group: a regular expression, whose first group, or else whole match, is the recording's
            name; or the path of a csv file with the columns id, recording, or of a json file {id: recording}.

    Raises:
        UserError: it is neither, or says nothing about some of the clips.
    """
    clips = list(clips)
    path = Path(option)
    is_file = path.suffix.lower() in (".csv", ".json") or (len(option) < 256 and path.is_file())
    find = _read_table(path) if is_file else _compile(option)
    of = {clip: find(clip) for clip in clips}
    unknown = sorted(clip for clip, recording in of.items() if not recording)
    if unknown:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        what = f"{path} doesn't list" if is_file else f"--group {option!r} doesn't match"
        cure = "add them" if is_file else "extend it, such as by |.*"
        raise UserError(f"{what} {len(unknown)} of {len(clips)} clips ({shown}): {cure}")
    return Recordings({clip: recording or "" for clip, recording in of.items()}, None, f"by --group {option}")


def _compile(pattern: str) -> Callable[[str], str | None]:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"--group {pattern!r} is neither a file nor a regular expression ({error})") from None

    def find(clip: str) -> str | None:
        match = compiled.search(clip)
        return match and (match[1] if compiled.groups else match[0])

    return find


def _read_table(path: Path) -> Callable[[str], str | None]:
    """Read {id: recording} from a json file, or a csv file of two columns."""
    if path.suffix.lower() == ".json":
        content = load_json(path, "{id: recording}")
        if not isinstance(content, dict) or not all(isinstance(value, str) and value for value in content.values()):
            raise UserError(f"{path} has an invalid format: it must hold {{id: recording}}, both of them texts")
        table = {normalize_name(clip): recording for clip, recording in content.items()}
        return table.get
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} can't be read ({error_reason(error)}): it must hold id,recording in each line"
        ) from None
    wrong = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if wrong is not None:
        raise UserError(f"{path} has an invalid row {','.join(wrong)[:80]!r}: each must be id,recording")
    table = {normalize_name(clip.strip()): recording.strip() for clip, recording in rows}
    return table.get
