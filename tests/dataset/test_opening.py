"""Files from anywhere: only containers of a list are opened, by one function, and nothing that a file names is read."""

import ast
import io
import os
import resource
import socket
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import untrusted
from helpers import make_clip, numbered, tone, write_sound, write_video
from PIL import Image

from dataset.making.checks.clip_checks import check_clip
from dataset.making.clips.cut import cut_clip
from dataset.reading.clip_reader import ClipReader
from dataset.reading.container import open_media
from dataset.reading.errors import MediaError
from dataset.reading.images import open_image
from dataset.reading.media import read_audio
from dataset.reading.media_folder import MediaItem, detect_kind
from dataset.reading.moments import iter_moments

ROOT = Path(__file__).parents[2]
ROOMS = ("collection", "data", "dataset", "evaluation", "models", "utils")
PRODUCT = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
OTHER_READERS = ("torchaudio", "torchvision", "decord", "imageio")
NAMES = (
    "http:x.mp4", "concat:a|b.mp4", "-i.mp4", "%03d.mp4", "data:x.mp4", "pipe:0", "a?b#c&d.mp4", "file:x.mp4",
    "subfile,,start,0,end,9,,:x.mp4", " x.mp4", "x\ny.mp4", "*[0-9].mp4",
)  # fmt: skip


def opening_calls(source):
    """Calls of a file that open media for reading by themselves."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        words = [*node.args, *(keyword.value for keyword in node.keywords)]
        writes = any(isinstance(word, ast.Constant) and word.value == "w" for word in words)
        if (
            (name in ("av.open", "av.container.open", "InputContainer") and not writes)
            or (name.endswith("VideoCapture") or name.split(".")[0] in OTHER_READERS)
            or (name.startswith("subprocess.") and "ffmpeg" in ast.unparse(node))
            or (name == "Image.open" and "formats" not in [keyword.arg for keyword in node.keywords])
        ):
            yield name


def test_media_are_opened_in_one_place():
    found = {}
    for path in PRODUCT:
        calls = list(opening_calls(path.read_text(encoding="utf-8")))
        found |= {str(path.relative_to(ROOT)): calls} if calls else {}
    assert found == {
        "dataset/reading/container.py": ["av.open"],
        "dataset/baseline_loaders.py": ["cv2.VideoCapture"],  # with the same lists, see below
        "collection/search_index.py": ["Image.open"],  # a preview that this program has made
        # Others' readers on files that the benchmark has made.
        "evaluation/speed/benchmarks/shard_libraries.py": ["Image.open"],
        "evaluation/speed/benchmarks/video_libraries.py": ["av.open", "cv2.VideoCapture"],
    }


def test_the_check_itself_sees_every_way_of_opening():
    source = "av.open(x)\nav.open(x, 'w')\ncv2.VideoCapture(x)\nsubprocess.run([ffmpeg, x])\nImage.open(x)\n"
    assert list(opening_calls(source)) == ["av.open", "cv2.VideoCapture", "subprocess.run", "Image.open"]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """{name: path} of files that name another file, a neighbour, which holds pictures and sound."""
    return untrusted.make_files(tmp_path_factory.mktemp("untrusted"))


def readers(path, folder):
    """Every way in which a file is read, by name; each raises a MediaError, or says what is wrong."""
    wav = folder / "good.wav"
    write_sound(wav, tone(2, 16000))  # makes the folder, too

    def clip():
        with ClipReader("x", path, wav) as reader:
            reader.frame(1.0, 32)

    def check():
        result = check_clip("x", path, wav)
        if result.kind != "ok":
            raise MediaError(result.kind, path, result.message)

    item = MediaItem(path.name, "video", path.name, path.parent)
    return {
        "training": clip,
        "check": check,
        "sound": lambda: read_audio(path, 0, 1),
        "import": lambda: cut_clip(path, path, 0.0, 2.0, folder / "x.mp4", folder / "x.wav"),
        "embed": lambda: list(iter_moments(item, 32, 16000)),
        "search": lambda: detect_kind(path),
    }


@pytest.mark.parametrize("name", untrusted.NAMES)
def test_what_a_file_names_is_never_read(scripts, name, tmp_path):
    doors = readers(scripts[name], tmp_path)
    if name in untrusted.IMAGES:  # as an upload it is an image, whatever its name
        assert doors.pop("search")() == "image"
    if name.startswith(("reference.mov", "alias")):
        assert doors.pop("search")() == "video"  # it opens, and holds nothing
    for door, read in doors.items():
        with pytest.raises(MediaError) as refused:
            read()
        text = str(refused.value)
        assert "\n" not in text and "errno" not in text.lower() and scripts[name].name in text, (door, text)


def test_a_script_is_called_by_its_name(scripts):
    for name, what in (("ffconcat.mp4", "an ffconcat script"), ("hls.mp4", "a playlist"), ("sdp.mp4", "SDP")):
        with pytest.raises(MediaError, match=what):
            open_media(scripts[name])


def test_opencv_follows_nothing_either(scripts):
    cv2 = pytest.importorskip("cv2")
    from dataset.reading.container import OPENCV_OPTIONS

    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = OPENCV_OPTIONS
    try:
        assert cv2.VideoCapture(str(scripts["neighbour.mp4"]), cv2.CAP_FFMPEG).read()[0]
        for name in ("ffconcat.mp4", "hls.mp4"):
            assert not cv2.VideoCapture(str(scripts[name]), cv2.CAP_FFMPEG).read()[0]
    finally:
        del os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_like_an_address_is_the_name_of_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "made", [numbered(k) for k in range(50)], sound=tone(2, 16000))
    (tmp_path / "made").rename(tmp_path / name)
    write_sound(tmp_path / "x.wav", tone(2, 16000))
    for path in (Path(name), tmp_path / name):
        assert check_clip("x", path, tmp_path / "x.wav").kind == "ok"
        assert detect_kind(path) == "video" and len(read_audio(path, 0, 1)) == 48000


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "loop", "dangling"])
def test_only_regular_files_are_opened(tmp_path, kind):
    """A pipe would be waited for without end, a device read without end."""
    path = tmp_path / "odd.mp4"
    with socket.socket(socket.AF_UNIX) as server:
        make = {
            "fifo": lambda: os.mkfifo(path),
            "folder": path.mkdir,
            "socket": lambda: server.bind(str(path)),
            "device": lambda: path.symlink_to("/dev/zero"),
            "loop": lambda: path.symlink_to(path),
            "dangling": lambda: path.symlink_to(tmp_path / "gone"),
        }
        make[kind]()
        wanted = {"loop": "can't be opened", "dangling": "is missing"}.get(kind, "is not a regular file")
        for read in {**readers(path, tmp_path), "picture": lambda: open_image(path)}.values():
            with pytest.raises(MediaError, match=wanted):
                read()
        mp4, _ = make_clip(tmp_path / "train", "a")
        result = check_clip("a", mp4, path)
        assert result.kind != "ok" and wanted in result.message


def test_a_video_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.reading.limits.MAX_PIXELS", 3000)
    write_video(tmp_path / "x.mp4", [numbered(k) for k in range(50)], sound=tone(2, 16000))
    doors = readers(tmp_path / "x.mp4", tmp_path / "out")
    for door in ("training", "check", "import", "embed"):
        with pytest.raises(MediaError, match="64 x 48 pixels large"):
            doors[door]()


def test_a_huge_frame_is_refused_before_it_is_decoded(tmp_path):
    """Where only the frames themselves say how large they are."""
    path, jpeg = tmp_path / "big.mkv", io.BytesIO()
    Image.new("RGB", (64, 48)).save(jpeg, "JPEG")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(20):
            packet = av.Packet(jpeg.getvalue().replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 30000, 30000)))
            packet.stream, packet.pts, packet.dts, packet.duration = stream, k * 100, k * 100, 100
            packet.time_base = Fraction(1, 1000)
            out.mux(packet)
    doors = readers(path, tmp_path)
    doors["import"] = lambda: cut_clip(path, tmp_path / "good.wav", 0, 2, tmp_path / "x.mp4", tmp_path / "x.wav")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for door in ("training", "check", "import", "embed"):
        with pytest.raises(MediaError, match=r"is damaged|no frame"):
            doors[door]()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB; such a frame takes 1.3 GB


def test_pictures_of_16_bits_are_as_bright_as_those_of_8(tmp_path):
    gray = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(np.array(open_image(tmp_path / "deep.png")), np.repeat(gray[..., None], 3, 2))
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(
        MediaError, match=r"float.tiff can't be read as an image \(its pixels have 32 bits, mode F, and"
    ):
        open_image(tmp_path / "float.tiff")
