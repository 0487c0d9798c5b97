"""Campaign: folders of videos as users have them, made into a dataset by train_val_split_small.py.

Whatever the folder holds, each file of it is in exactly one split or in left_out.csv, cuts of one recording are on one
side, no split is empty, and the user's files are as before.
"""

import json
import os
import random
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign.case import Case, refusal, run_command
from tests.campaign.split_folders import KINDS, SCRIPT, case, media, put, put_all, run_case, snapshot, spell


def cases() -> Iterator[Case]:
    """Name the folders: written by hand, and drawn at random."""
    yield from named_cases()
    yield from hostile_cases()
    for seed in range(90):
        yield Case(f"random_{seed:02d}", partial(run_random, seed))


def before_number(clip: str) -> str:
    """Name the recording of a clip of the forms NAME_NUMBER and NAME_START_END."""
    return clip.partition("_")[0]


def named_cases() -> Iterator[Case]:
    """Names, groups, counts and options."""
    several = "|".join(f"{name}_{k}" for name in ("one", "two", "three", "four") for k in (1, 2))
    ids = "|".join(
        f"{name}_{k}" for name in ("dQw4w9WgXcQ", "aB3-efGhi_k", "x_Y-z12A45b", "QQ-w4w9WgX1") for k in (30, 40)
    )
    for count in range(6):
        refused = "no video" if count == 0 else "too few" if count < 3 else ""
        yield case(f"count_{count}", "|".join("abcdef"[:count]), refused=refused)
        yield case(f"count_{count}_train_only", "|".join("abcdef"[:count]), "--val", "0", "--test", "0",
                   refused="no video" if count == 0 else "")  # fmt: skip
    yield case("several_names", several, recording=before_number)
    yield case("youtube", ids, recording=lambda clip: clip[:11])
    yield case("instruments", "|".join(f"instruments_{k:04d}" for k in range(12)))
    yield case("two_names", "dog_1|dog_2|cat_1|cat_2", refused="--group")
    yield case("two_names_apart", "dog_1|dog_2|cat_1|cat_2", "--group", ".*")
    yield case(
        "cameras", "IMG_0001|IMG_0002|DSC_0042|GOPR0001|GP010001|MVI_0007|2019-05-03 12.00.01|PXL_20210101_123456789"
    )
    yield case("gopro", "GOPR0001|GP010001|GX010002|GX020002|GH010003|a", recording=lambda clip: clip[-4:])
    yield case("speakers", "|".join(f"s_{a}_{b}" for a in range(4) for b in range(3)), recording=lambda clip: clip[:3])
    yield case("films", "|".join(f"{f}_{k}_{k + 10}" for f in "abcd" for k in (0, 10)), recording=before_number)
    yield case("group_by_expression", several, "--group", r"_(\d)$", "--test", "0", recording=lambda clip: clip[-1])
    for pattern in ("(", "x", "^(a)?", "[", "(?P<a", "nothing.json", "nothing.csv", "*", ""):
        yield case(f"group_{pattern}", several, "--group", pattern, *([] if pattern else ["--seed", "1"]),
                   refused="" if not pattern else "group" if "." not in pattern else pattern)  # fmt: skip
    for table in ("{}", "[]", '{"one_1": 1}', "{", "\ufeff{}", '{"one_1": ""}'):
        yield case(f"group_table_{table}", partial(_with_text, several, "g.json", table), "--group", "SRC/g.json",
                   refused="g.json")  # fmt: skip
    for number in ("nan", "-1", "2", "1", "inf", "x"):
        yield case(f"val_{number}", several, "--val", number, refused="--val")
    for words in (["--cut", "0"], ["--cut", "nan"], ["--cut", "-1"], ["--cut", "inf"], ["--cut", "1e9"],
                  ["--every", "1"], ["--cut", "1", "--every", "0"], ["--cut", "1", "--by", "move"]):  # fmt: skip
        yield case("_".join(words), several, *words, refused="--")
    long = "a.mp4=long|b.mp4=long|c.mp4=long|d.mp4=mp4|e.mp4=junk"
    for words in (["--cut", "1"], ["--cut", "2"], ["--cut", "5"], ["--cut", "1", "--every", "2"],
                  ["--cut", "2", "--every", "0.5"], ["--cut", "1.37"]):  # fmt: skip
        yield case("_".join(words), long, *words, recording=before_number)
    yield case("by_copy", several, "--by", "copy", recording=before_number)
    yield case("by_move", several, "--by", "move", recording=before_number)
    yield case("dry_run", several, "--dry_run")
    yield case("inside", several, "--inside", recording=before_number)
    yield case("folders", "Guitar/1|Guitar/2|Piano/1|Piano/2|my class/x|x/y/z", "--labels", "folders")
    yield case("folders_twice", "a/x_1|b/x/1|c|d|e", "--labels", "folders")


def hostile_cases() -> Iterator[Case]:
    """Files, links and tables that make trouble."""
    nfd, nfc = (unicodedata.normalize(form, "Größe") for form in ("NFD", "NFC"))
    yield case("same_stem", "a.mp4|a.mov|b|c", refused="a.mov and a.mp4")
    yield case("same_stem_below", "1/a|2/a|b|c|d", refused="1/a.mp4 and 2/a.mp4")
    yield case("same_but_for_case", "A|a|b|c", refused="A.mp4 and a.mp4")
    yield case("same_but_for_form", f"{nfd}|{nfc}|b|c", refused="more than once")
    yield case("suffixes", "a.MP4|b.Mov=mkv|c.MKV=mkv|d.MTS=mkv|e.m2ts=mkv|f.3gp=mkv|g.ogv=mkv|h.mxf=mkv|i.xyz|j")
    yield case("sounds", "A.MP4|A.WAV=wav|b|B.wav=wav|c|c.WaV=wav|c.mp3=wav|d=mute|d.wav=wav|e.wav=wav|f")
    yield case("split_layout", "video/a|audio/a.wav=wav|video/b|audio/b.WAV=wav|video/c|audio/d.wav=wav")
    yield case("forms", f"{nfd}|{nfc}.wav=wav|caf\u0065\u0301|한국|b|c")
    yield case("hidden", ".a.mp4|._b.mp4|.git/c.mp4|b|c|d|.DS_Store=text|Thumbs.db=text")
    yield case("strange", "new\nline|tab\tx|back\\slash|\x1b[31mred|quo'te|-x| |%d|a.b..c|😀|\u202ertl|$(x)")
    yield case("long", f"{'x' * 250}|{'y' * 200}|b|c")
    yield case("long_cut", f"{'x' * 245}.mp4=long|b.mp4=long|c.mp4=long|d.mp4=long", "--cut", "2")
    yield case("bad_media", "a=empty|b=junk|c=text|d=half|e=mute|f=wav|g|h|i")
    yield case("all_bad", "a=empty|b=junk|c=text|d=half|e=mute", refused="too few")
    yield case("only_text", "a.txt=text|b.csv=text", refused="no video")
    yield case("out_is_src", "a|b|c", "--inside", "--val", "0.3")
    for name, make in (("loop", _loop), ("links", _links), ("pipes", _pipes), ("not_utf8", _not_utf8), ("wide", _wide),
                       ("directory.mp4", _directories), ("playlist", _playlists)):  # fmt: skip
        yield case(name, make)
    for k, text in enumerate(("", "[]", "{}", '{"a": 1}', '{"a": ["\\ud800"]}', '{"../a": []}', '{"a": ["x"], "z": []}',
                              "{" * 5000, '{"a": [], "a": ["x"]}', "\ufeff{}", "null", '{"\\u0000": []}')):  # fmt: skip
        yield case(f"labels_{k}", partial(_with_text, "a|b|c", "vid2genre.json", text))
        yield case(f"boxes_{k}", partial(_with_text, "a|b|c", "boxes.json", text))
    yield case("csv_missing", "a|b|c", "--csv", "SRC/none.csv", refused="none.csv")
    yield case("csv_bad", partial(_with_text, "a|b|c", "s.csv", "a,b"), "--csv", "SRC/s.csv", refused="s.csv")
    yield Case("out_is_a_file", partial(_other_out, "file"))
    yield Case("out_is_full", partial(_other_out, "full"))
    yield Case("out_is_source", partial(_other_out, "source"))
    yield Case("out_below_a_file", partial(_other_out, "below"))
    for text in (
        "{",
        "[]",
        "{}",
        '{"settings": {}, "clips": {"../x": "train"}}',
        '{"settings": {}, "clips": {"x": 3}}',
    ):
        yield Case(f"note_{text}", partial(_other_out, text))


def _with_text(files: str, name: str, text: str, src: Path) -> None:
    put_all(files, src)
    (src / name).write_text(text, encoding="utf-8")


def _loop(src: Path) -> None:
    put(src, "a", "b/b", "b/c/c")
    (src / "b" / "up").symlink_to("..")
    (src / "self").symlink_to(".")
    (src / "again").symlink_to("b")


def _links(src: Path) -> None:
    put(src, "a", "b", "c")
    put(src.parent / "far", "d", "e_1", "e_2")
    (src / "far").symlink_to(src.parent / "far")
    (src / "far2").symlink_to(src.parent / "far")
    (src / "a2.mp4").symlink_to("a.mp4")
    os.link(src / "b.mp4", src / "b2.mp4")
    (src / "broken.mp4").symlink_to("nowhere.mp4")
    (src / "round.mp4").symlink_to("round.mp4")


def _pipes(src: Path) -> None:
    put(src, "a", "b", "c")
    os.mkfifo(src / "pipe.mp4")
    os.mkfifo(src / "a.wav")
    (src / "zero.mp4").symlink_to("/dev/zero")


def _not_utf8(src: Path) -> None:
    put(src, "a", "b", "c")
    for name in (b"f\xfcr.mp4", b"\xff\xfe.wav", b"d\xe9j\xe0.txt"):
        with open(os.path.join(os.fsencode(src), name), "wb") as file:
            file.write(media()["mp4"])


def _wide(src: Path) -> None:
    put(src, *(f"{k % 7}/{k % 5}/name{k} x" for k in range(30)), *(f"n{k}.txt=text" for k in range(50)))


def _directories(src: Path) -> None:
    put(src, "a", "b", "c", "dir.mp4/x", "dir.wav/y.wav=wav")


def _playlists(src: Path) -> None:
    put(src, "a", "b", "c")
    for k, text in enumerate(("ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\na.mp4\n", "<MPD></MPD>")):
        (src / f"p{k}.mp4").write_text(text)


def _other_out(kind: str, folder: Path) -> str:
    """Give an output that can't be one."""
    src, out = folder / "src", folder / "out"
    put(src, "a", "b", "c")
    if kind == "file":
        out.write_text("mine")
    elif kind == "full":
        put(out, "mine")
    elif kind == "source":
        out = src
    elif kind == "below":
        out = src / "a.mp4" / "x"
    else:
        out.mkdir()
        (out / "split.json").write_text(kind)
    before = snapshot(folder, folder / "none")
    outcome = run_command([SCRIPT, src, out])
    return refusal(outcome) or ("a file changed" if snapshot(folder, folder / "none") != before else "")


def run_random(seed: int, folder: Path) -> str:
    """Split a random folder: recordings with cuts, other files between them, random options."""
    draw = random.Random(seed)
    heads = draw.sample(
        ["solo", "Übung", "my-film", "concert 2019-05-03", "x.y", "dQw4w9WgXcQ", "IMG_1234", "a b", "tür"], 6
    )
    cuts = {head: draw.choice([1, 1, 2, 3]) for head in heads}
    form = draw.choice(["_{}", " ({})", "_part{}", "-{:03d}", "_{0}0_{0}5", "_00{:04d}"])
    names = [head + form.format(k + 1) if count > 1 else head for head, count in cuts.items() for k in range(count)]
    origin = {spell(name): head for head in heads for name in names if name.startswith(head)}

    def make(src: Path) -> None:
        for name in names:
            below = draw.choice(["", "", "sub/", "sub/deep/"])
            spelled = unicodedata.normalize(draw.choice(["NFC", "NFD"]), name)
            kind = draw.choice(["mp4"] * 6 + ["mkv", "mute", "half"])
            put(
                src,
                f"{below}{spelled}.{draw.choice(['mkv', 'MTS', 'webm'] if kind == 'mkv' else ['mp4', 'MP4'])}={kind}",
            )
            if draw.random() < 0.3:
                put(src, f"{below}{spelled}.{draw.choice(['wav', 'WAV', 'mp3'])}=wav")
        for k in range(draw.randrange(4)):
            put(src, f"other{k}{draw.choice(['.txt', '.JPG', '.xyz', '.wav', ''])}={draw.choice(KINDS)}")
        (src / "vid2genre.json").write_text(json.dumps({name: ["/m/07y_7"] for name in names}))

    words = [*draw.choice([[], ["--by", "copy"], ["--by", "move"], ["--val", "0.3"], ["--test", "0"]])]
    words += draw.choice([[], ["--seed", "7"], ["--labels", "folders"]])

    def recording(clip: str) -> str:
        return next((head for name, head in origin.items() if clip.lower().endswith(name)), clip)

    return run_case(make, tuple(words), recording, "", folder)
