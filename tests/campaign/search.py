"""Campaign: odd pictures, sounds, videos and names, given to embed.py and to the search page.

A file has rows, or its name and a reason in NAME_left_out.csv; the good file beside it always has its rows. The page
answers with results or with one sentence.
"""

import csv
import functools
import io
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import av
import numpy as np
import soundfile
from helpers import numbered, read_left_out, small_checkpoint, tone, write_video
from PIL import Image

from tests.campaign.case import Case, problem, run_command

RATE = 8000
READ, REFUSED, EITHER = "read", "refused", "either"  # what is right for a file
PAGE_SECONDS = 20.0  # the page must answer within
Make = Callable[[Path], object]  # writes a file


def cases() -> Iterator[Case]:
    """Give each file to embed.py and to the page, and each name to embed.py."""
    for suffix, name, right, make in files():
        yield Case(f"embed_{name}", partial(_embed_file, suffix, right, make))
        yield Case(f"page_{name}", partial(_upload, suffix, right, make))
    for number, name in enumerate(names()):
        yield Case(f"name_{number}", partial(_embed_name, name))


def files() -> Iterator[tuple[str, str, str, Make]]:
    """List odd files: suffix, name of the case, what is right, how to make it."""
    for name, right, make in [*pictures(), *broken_pictures()]:
        yield f".{name.split('_')[0]}", name, right, make
    for name, right, make in [*sounds(), *broken_sounds(), *videos()]:
        yield f".{name.split('_')[0]}", name, right, make


def pictures() -> list[tuple[str, str, Make]]:
    """List pictures that can be read, however odd."""
    rgb = Image.fromarray(numbered(1234))
    saved: dict[str, tuple[Image.Image, dict]] = {
        "jpg_cmyk": (rgb.convert("CMYK"), {}),
        "tiff_cmyk": (rgb.convert("CMYK"), {}),
        "jpg_grey": (rgb.convert("L"), {}),
        "jpg_progressive": (rgb, {"progressive": True}),
        "png_16_bits": (Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64) * 20), {}),
        "tiff_lab": (rgb.convert("LAB"), {}),
        "tiff_deflated": (rgb, {"compression": "tiff_deflate"}),
        "png_palette": (rgb.quantize(7), {}),
        "png_transparent_palette": (rgb.quantize(7), {"transparency": 0}),
        "png_grey_alpha": (rgb.convert("LA"), {}),
        "png_alpha": (rgb.convert("RGBA"), {}),
        "png_1_bit": (rgb.convert("1"), {}),
        "bmp_1_bit": (rgb.convert("1"), {}),
        "bmp_palette": (rgb.quantize(7), {}),
        "gif_palette": (rgb.quantize(7), {}),
        "gif_animated": (rgb, {"save_all": True, "append_images": [rgb.rotate(9)] * 5, "duration": 40}),
        "webp_animated": (rgb, {"save_all": True, "append_images": [rgb.rotate(9)] * 5, "duration": 40}),
        "webp_lossless": (rgb, {"lossless": True}),
        "tiff_many_pages": (rgb, {"save_all": True, "append_images": [rgb.rotate(9)] * 5}),
        "png_broken_profile": (rgb, {"icc_profile": b"no profile"}),
        "png_1_pixel": (rgb.resize((1, 1)), {}),
        "png_1_column": (rgb.resize((1, 3000)), {}),
        "png_1_row": (rgb.resize((3000, 1)), {}),
        "png_49_million": (Image.new("L", (7000, 7000)), {}),
    }
    found: list[tuple[str, str, Make]] = [
        (name, READ, lambda path, image=image, options=options: image.save(path, **options))
        for name, (image, options) in saved.items()
    ]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        found.append((f"jpg_exif_{turn}", READ, lambda path, exif=exif: rgb.save(path, exif=exif)))
    bad_exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    return [*found, ("jpg_exif_broken", READ, lambda path: rgb.save(path, exif=bad_exif))]


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Build a PNG that declares this size, with further chunks and one pixel's data."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0\0\0\0")), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + content


def encoded(image: Image.Image, form: str) -> bytes:
    """Encode a picture."""
    image.save(out := io.BytesIO(), form)
    return out.getvalue()


def broken_pictures() -> list[tuple[str, str, Make]]:
    """List pictures that are damaged, too large, or none."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    jpg, gif, webp, tiff = (encoded(rgb, form) for form in ("JPEG", "GIF", "WEBP", "TIFF"))
    whole = encoded(rgb, "PNG")
    contents: list[tuple[str, str, bytes]] = [
        ("png_60000_x_60000", REFUSED, png(60000, 60000)),
        ("png_2147483647_x_1", REFUSED, png(2**31 - 1, 1)),
        ("png_0_x_0", REFUSED, png(0, 0)),
        ("tiff_float", REFUSED, encoded(rgb.convert("L").convert("F"), "TIFF")),  # of an unknown range
        ("tiff_32_bits", REFUSED, encoded(rgb.convert("L").convert("I"), "TIFF")),
        ("png_text_bomb", EITHER, png(1, 1, (b"zTXt", b"x\0\0" + zlib.compress(bytes(200_000_000))))),
        ("png_many_chunks", EITHER, png(1, 1, *[(b"tEXt", b"a\0b")] * 50_000)),
        ("png_wrong_crc", EITHER, whole[:-30] + b"\0" * 10 + whole[-20:]),
        ("png_html", REFUSED, b"<html><body>no</body></html>"),
        ("png_svg", REFUSED, b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("png_postscript", REFUSED, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        ("png_zip", REFUSED, b"PK\x03\x04" + bytes(200)),
        ("jpg_garbage_at_its_end", READ, jpg + bytes(1000)),
        ("jpg_empty", REFUSED, b""),
        ("jpg_head_only", REFUSED, jpg[:20]),
        ("jpg_zeros", REFUSED, bytes(5000)),
        ("gif_head_only", REFUSED, gif[:13]),
        ("webp_head_only", REFUSED, webp[:30]),
        ("tiff_head_only", REFUSED, tiff[:8]),
    ]
    for name, content in (("jpg", jpg), ("png", whole), ("gif", gif), ("webp", webp), ("tiff", tiff)):
        contents += [(f"{name}_cut_at_{k}_of_4", EITHER, content[: len(content) * k // 4]) for k in (1, 2, 3)]
    return [(name, right, lambda path, content=content: path.write_bytes(content)) for name, right, content in contents]


def sounds() -> list[tuple[str, str, Make]]:
    """List sounds that can be read, and sounds that are too short."""
    wave = tone(2.2, RATE, overtones=3)

    def write(values: np.ndarray, rate: int = RATE, **options: str) -> Make:
        return lambda path: soundfile.write(path, values, rate, **options)

    many = np.stack([wave * (k + 1) / 9 for k in range(8)], 1)
    codecs = ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM")
    found = [(f"wav_{bits.lower()}", READ, write(wave, subtype=bits)) for bits in codecs]
    found += [(f"wav_{rate}_hz", READ, write(tone(2.2, rate), rate)) for rate in (4000, 11023, 44100, 96000, 192000)]
    found += [
        ("wav_8_channels", READ, write(many)),
        ("wav_rf64", READ, lambda path: soundfile.write(path, wave, RATE, format="RF64")),
        ("wav_loud_float", READ, write(wave * 1e6, subtype="FLOAT")),
        ("wav_half_silent", READ, write(np.concatenate([wave, np.zeros(3 * RATE)]))),
        ("flac_24", READ, write(wave, subtype="PCM_24")),
        ("ogg_vorbis", READ, write(wave)),
        ("mp3_mono", READ, write(tone(2.2, 44100), 44100)),
        ("aiff_16", READ, write(wave)),
        ("wav_1_s", READ, write(wave[:RATE])),
    ]
    lengths = {"0_samples": 0, "1_sample": 1, "300_ms": 2400, "999_ms": RATE - 1}
    found += [(f"wav_{name}", REFUSED, write(wave[:count])) for name, count in lengths.items()]
    return [*found, ("wav_silent", REFUSED, write(np.zeros(2 * RATE)))]


def broken_sounds() -> list[tuple[str, str, Make]]:
    """List sounds that are damaged, or whose header makes no sense."""
    soundfile.write(out := io.BytesIO(), tone(2.2, RATE), RATE, format="WAV")
    wav = out.getvalue()
    soundfile.write(out := io.BytesIO(), np.r_[tone(2, RATE)[:-1], np.nan], RATE, format="WAV", subtype="FLOAT")
    nan = out.getvalue()

    def patched(position: int, form: str, value: int) -> bytes:
        data = bytearray(wav)
        struct.pack_into(form, data, position, value)
        return bytes(data)

    contents = [
        ("wav_nan", REFUSED, nan),
        ("wav_head_only", REFUSED, wav[:44]),
        ("wav_half", EITHER, wav[: len(wav) // 2]),
        ("wav_0_channels", REFUSED, patched(22, "<H", 0)),
        ("wav_0_hz", REFUSED, patched(24, "<I", 0)),
        ("wav_1_hz", REFUSED, patched(24, "<I", 1)),
        ("wav_4_ghz", EITHER, patched(24, "<I", 2**32 - 1)),
        ("wav_65535_channels", EITHER, patched(22, "<H", 65535)),
        ("wav_unknown_codec", REFUSED, patched(20, "<H", 0xBEEF)),
        ("wav_4_gb_declared", EITHER, patched(40, "<I", 2**32 - 1)),
        ("mp3_noise", EITHER, np.random.default_rng(0).bytes(20_000)),
        ("flac_head_only", REFUSED, b"fLaC" + bytes(38)),
        ("ogg_head_only", REFUSED, b"OggS" + bytes(40)),
        ("wav_playlist", REFUSED, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"),
    ]
    return [(name, right, lambda path, content=content: path.write_bytes(content)) for name, right, content in contents]


def videos() -> list[tuple[str, str, Make]]:
    """List videos of odd streams, lengths and shapes."""
    frames = [numbered(k) for k in range(25)]
    sound = tone(2.5, 16000)

    def video(count: int = 25, cut: float = 1.0, **options: object) -> Make:
        def make(path: Path) -> None:
            write_video(path, (frames * 2)[:count], 10, **options)
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])

        return make

    def small(path: Path) -> None:
        write_video(path, [np.full((2, 2, 3), k * 9, np.uint8) for k in range(20)], 10)

    def sound_only(path: Path) -> None:
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.float32(sound)[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            out.mux(stream.encode(frame) + stream.encode())

    text = {"mp4_script": b"ffconcat version 1.0\nfile 'good.png'\n", "mp4_text": b"no video\n" * 99, "mp4_empty": b""}
    return [
        ("mp4_mute", READ, video()),
        ("mp4_short_sound", READ, video(sound=sound[:8000], rate=16000)),
        ("mp4_short_picture", READ, video(3, sound=sound, rate=16000)),
        ("mp4_1_frame", REFUSED, video(1)),
        ("mp4_turned", READ, video(sound=sound, rate=16000, turn=90)),
        ("mkv_named_mp4", READ, video(sound=sound, rate=16000, container="matroska")),
        ("mp4_2_x_2", READ, small),
        ("mp4_sound_only", READ, sound_only),
        ("mp4_cut_at_half", REFUSED, video(sound=sound, rate=16000, cut=0.5)),
        ("mp4_cut_at_the_end", REFUSED, video(sound=sound, rate=16000, cut=0.99)),
        *((name, REFUSED, lambda path, content=content: path.write_bytes(content)) for name, content in text.items()),
    ]


def names() -> list[str]:
    """List odd names of files, without their suffix."""
    return [
        "line\nbreak", "tab\there", "return\rhere", "\N{GUITAR}", "\N{FAMILY}\u200d\N{FAMILY}", '"quoted"', "it's",
        "-dash", "--out", "a,b;c", "=1+1", "%s%n{0}", "back\\slash", "<b>bold", "  spaces  ", "dot.", "..dots",
        "x" * 200,
        "\u05d0\u05d1", "e\u0301 and \u00e9", "a\u202eb", "$(id)`id`", "*?[a]", "#hash", "~", "con", "\x01\x7f",
        "file:x", "http:x", "concat:a|b", "%03d", "caf\udce9",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- running


@functools.cache
def _checkpoint() -> Path:
    return small_checkpoint(Path(mkdtemp(prefix="campaign_search_")) / "best.pt", **{"model.name": "AVOLNet"})


def _embed(folder: Path, source: Path) -> tuple[str, dict[str, int], dict[str, str]]:
    """Run embed.py on a folder: (what is wrong, {file: rows}, {file: reason})."""
    out = folder / "emb"
    found = run_command(["embed.py", "--checkpoint", _checkpoint(), "--input", source, "--out", out], limit=60)
    if wrong := problem(found) or ("" if found.code == 0 else f"refuses the folder: {found.err.strip()!r}"):
        return wrong, {}, {}
    rows: dict[str, int] = {}
    with open(f"{out}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["file"]] = rows.get(row["file"], 0) + 1
    return "", rows, read_left_out(Path(f"{out}_left_out.csv"))


def _embed_file(suffix: str, right: str, make: Make, folder: Path) -> str:
    source = folder / "in"
    source.mkdir()
    Image.fromarray(numbered(1)).save(source / "good.png")
    make(source / f"odd{suffix}")
    wrong, rows, skipped = _embed(folder, source)
    odd = f"odd{suffix}"
    if wrong or rows.get("good.png") != 1:
        return wrong or "the good file has no row"
    if (odd in rows) == (odd in skipped) and "in part" not in skipped.get(odd, ""):
        return f"is neither embedded nor given a reason, or both: {rows.get(odd)} rows, {skipped.get(odd)!r}"
    if right == READ and odd not in rows:
        return f"is left out: {skipped[odd]}"
    if right == REFUSED and odd in rows:
        return f"has {rows[odd]} rows without a word"
    return _bad_sentence(skipped.get(odd, "has rows"))


def _embed_name(name: str, folder: Path) -> str:
    source = folder / "in"
    source.mkdir()
    Image.fromarray(numbered(1)).save(source / "good.png")
    try:
        Image.fromarray(numbered(2)).save(source / f"{name}.png", "PNG")
    except (OSError, ValueError, UnicodeEncodeError) as error:
        return f"can't be made: {error}"
    wrong, rows, skipped = _embed(folder, source)
    others = {*rows, *skipped} - {"good.png"}
    if wrong or rows.get("good.png") != 1 or len(others) != 1:
        return wrong or f"is not listed once: {others}"
    (listed,) = others
    return (
        "" if listed == f"{name}.png" or (listed in skipped and not f"{name}.png".isprintable()) else f"is {listed!r}"
    )


@functools.cache
def _page():
    """The search page of a small collection, as a client in this process."""
    from collection.jobs import Jobs
    from collection.sandbox import Sandbox
    from collection.search_index import open_search_index
    from collection.server import make_app
    from collection.storage import load_collection

    folder = Path(mkdtemp(prefix="campaign_search_"))
    (folder / "in").mkdir()
    for k in range(3):
        write_video(folder / "in" / f"{k}.mp4", [numbered(k)] * 20, 10, sound=tone(2, RATE, 200 * (k + 1)), rate=RATE)
    wrong, *_ = _embed(folder, folder / "in")
    assert not wrong, wrong
    index, sandbox = open_search_index(load_collection(folder / "emb.npz")), Sandbox()
    return make_app(Jobs({}, sandbox, index=index), "3 files", index=index).test_client()


def _upload(suffix: str, right: str, make: Make, folder: Path) -> str:
    path = folder / f"odd{suffix}"
    make(path)
    client, begin = _page(), time.monotonic()
    reply = client.post("/jobs/search", data={"file": (io.BytesIO(path.read_bytes()), path.name)})
    while (answer := reply.get_json(silent=True)) and answer.get("state") in ("waiting", "running"):
        time.sleep(0.05)
        reply = client.get(f"/jobs/{answer['job']}")
    seconds, status = time.monotonic() - begin, answer.get("status", reply.status_code) if answer else 500
    if seconds > PAGE_SECONDS or status not in (200, 400, 413, 415):
        return f"answers {status} after {seconds:.0f} s: {reply.get_data()[:200]!r}"
    if status == 200:
        return "has results without a word" if right == REFUSED else "" if answer["result"]["by"] else "has no list"
    return f"is refused: {answer['error']}" if right == READ else _bad_sentence(answer["error"])


def _bad_sentence(text: str) -> str:
    """What is wrong with a reason, "" if nothing: it is one line, of people's words."""
    bad = [word for word in ("Traceback", "Errno", "0x", "object at", "\n", str(sys.prefix)) if word in text]
    return f"says {text!r}" if bad or not text or len(text) > 250 else ""
