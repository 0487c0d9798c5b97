"""Frames are shown as players show them, in every door; the oracle is ffmpeg's command, which turns them by itself."""

import io
import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from helpers import tone, write_sound, write_video
from PIL import Image

from dataset.making.checks.clip_checks import check_clip
from dataset.making.clips.cut import cut_clip
from dataset.making.shards.shard_writer import write_frames
from dataset.reading.clip_reader import ClipReader
from dataset.reading.container import open_media
from dataset.reading.errors import ClipError
from dataset.reading.images import open_image
from dataset.reading.media_folder import MediaItem, frame_image
from dataset.reading.moments import iter_moments

SIZE = (96, 64)  # width and height of the frames as they are stored
SETTINGS = {"fps": 5.0, "size": 64, "square": False, "quality": 95, "rate": 16000, "clips": 2}
TURNS = [(angle, *flips) for angle in (0, 90, 180, 270) for flips in ((), ("h",), ("v",), ("h", "v"))]
MATRICES = {"bt709": 1, "bt470bg": 5, "smpte170m": 6, "bt2020nc": 9, "unknown": 2}


def ffmpeg(*words):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def by_ffmpeg(path, time=1.0):
    """The frame that ffmpeg's command shows: (H, W, 3) int."""
    exact = "accurate_rnd+full_chroma_int+bicubic"
    png = ffmpeg(
        "-i",
        path,
        "-ss",
        time,
        "-frames:v",
        1,
        "-sws_flags",
        exact,
        "-f",
        "image2pipe",
        "-c:v",
        "png",
        "-pix_fmt",
        "rgb24",
        "-",
    )
    return np.asarray(Image.open(io.BytesIO(png)), int)


def scene(size=SIZE, seed=0):
    """A smooth picture without any symmetry: (H, W, 3) uint8."""
    noise = np.random.default_rng(seed).integers(20, 235, (4, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    write_video(path, [scene()] * 50, gop=25, sound=tone(2.0, 16000))
    write_sound(path.with_suffix(".wav"), tone(2.0, 16000))
    return path


def difference(found, wanted):
    """Mean of the absolute difference of two pictures, of which the first is resized."""
    resized = Image.fromarray(np.asarray(found, np.uint8)).resize(wanted.shape[1::-1], Image.Resampling.BICUBIC)
    return np.abs(np.asarray(resized, int) - wanted).mean()


def shown_in_every_door(path, wav, folder):
    """{door: the frame at 1 s of a video}."""
    shown = {}
    with ClipReader("a", path, wav) as clip:
        shown["training"] = clip.frame(1.0, 64)
        tar = io.BytesIO()
        _, begin, size = write_frames(tar, "0", clip, [], SETTINGS)[0]
        shown["shards"] = np.asarray(Image.open(io.BytesIO(tar.getvalue()[begin : begin + size])))
    item = MediaItem(path.name, "video", path.name, path.parent)
    shown["embed"] = next(iter(iter_moments(item, 64, 16000))).frame
    shown["search page"] = np.asarray(frame_image(item, 1.0))
    cut_clip(path, wav, 0.0, 2.0, folder / "cut.mp4", folder / "cut.wav", height=96)
    shown["import"] = by_ffmpeg(folder / "cut.mp4")
    return shown


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_rotated_and_mirrored_frames_are_shown_as_ffmpeg_shows_them(film, tmp_path, turn):
    angle, flips = turn[0], turn[1:]
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", angle, *(f"-display_{flip}flip" for flip in flips), "-i", film, "-c", "copy", path)
    wanted = by_ffmpeg(path)
    for door, frame in shown_in_every_door(path, film.with_suffix(".wav"), tmp_path).items():
        assert difference(frame, wanted) < 4, door
        if door in ("shards", "search page", "import"):
            assert (frame.shape[0] > frame.shape[1]) == (wanted.shape[0] > wanted.shape[1]), door
    silent = tmp_path / "silent.wav"
    write_sound(silent, 0 * tone(2.0, 16000))
    thumbnail = check_clip("a", path, silent).thumbnail  # of a clip that isn't ok
    assert thumbnail and difference(Image.open(io.BytesIO(thumbnail)), wanted) < 5


@pytest.mark.parametrize("angle", [30, 45, 2, 91, 200])
def test_frames_turned_by_any_angle_are_shown_as_ffmpeg_shows_them(film, tmp_path, angle):
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", angle, "-i", film, "-c", "copy", path)
    wanted = by_ffmpeg(path)
    for door, frame in shown_in_every_door(path, film.with_suffix(".wav"), tmp_path).items():
        assert difference(frame, wanted) < 5, door


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_shown_as_their_exif_says(tmp_path, number, kind):
    """TIFF 6.0: where the row 0 and the column 0 of what is stored are shown."""
    upright = scene()
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[number]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = number
    path = tmp_path / f"x.{kind.lower()}"
    Image.fromarray(np.ascontiguousarray(turned)).save(path, kind, exif=exif, quality=95)
    assert np.abs(np.asarray(open_image(path), int) - upright).mean() < 4


# --------------------------------------------------------------------------------------------------------------- colors


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("levels", ["tv", "pc"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_an_imported_clip_has_the_colors_of_its_source(tmp_path, matrix, levels, pixels):
    picture, path, wav = tmp_path / "x.png", tmp_path / "x.mkv", tmp_path / "x.wav"
    Image.fromarray(scene()).save(picture)
    write_sound(wav, tone(1.5, 16000))
    scale = (
        f"scale=out_color_matrix={matrix}:out_range={levels}" if matrix != "unknown" else f"scale=out_range={levels}"
    )
    ffmpeg("-loop", 1, "-t", 1.5, "-i", picture, "-vf", scale, "-pix_fmt", pixels, "-colorspace", matrix,
           "-color_range", levels, "-c:v", "libx264", "-crf", 10, path)  # fmt: skip
    wanted = by_ffmpeg(path)
    shown = shown_in_every_door(path, wav, tmp_path)
    for door, frame in shown.items():
        assert difference(frame, wanted) < 3.5, door
    bias = np.abs((shown["import"] - wanted).mean((0, 1)))
    assert bias.max() < 1, bias  # encoding loses detail; colors that are converted wrongly are off as a whole
    with av.open(str(tmp_path / "cut.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == MATRICES[matrix] and frame.color_range in ((0, 1) if levels == "tv" else (2,))


@pytest.mark.parametrize(
    ("pixels", "codec"),
    [("gray", "ffv1"), ("gray10le", "ffv1"), ("rgb24", "libx264rgb"), ("bgr0", "ffv1"), ("gbrp10le", "ffv1"),
     ("yuva420p", "libvpx-vp9"), ("pal8", "png"), ("yuvj422p", "mjpeg"), ("nv12", "rawvideo"), ("yuv410p", "ffv1")],
)  # fmt: skip
def test_every_pixel_format_keeps_its_colors(tmp_path, pixels, codec):
    picture, path, wav = tmp_path / "x.png", tmp_path / "x.mkv", tmp_path / "x.wav"
    Image.fromarray(scene()).save(picture)
    write_sound(wav, tone(1.5, 16000))
    ffmpeg("-loop", 1, "-t", 1.5, "-i", picture, "-pix_fmt", pixels, "-c:v", codec, path)
    wanted = by_ffmpeg(path)
    for door, frame in shown_in_every_door(path, wav, tmp_path).items():
        assert np.abs(np.asarray(frame, float).mean((0, 1)) - wanted.mean((0, 1))).max() < 2, door


def test_colors_that_no_one_converts_are_refused_in_one_sentence(film, tmp_path):
    path = tmp_path / "x.mp4"
    ffmpeg("-i", film, "-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=8", path)
    with pytest.raises(ClipError, match="colors in a form"), ClipReader("x", path, film.with_suffix(".wav")) as clip:
        clip.frame(1.0, 32)
    assert check_clip("x", path, film.with_suffix(".wav")).kind == "damaged"


# -------------------------------------------------------------------------------------------------------------- streams


def test_of_several_pictures_every_reader_takes_the_same(tmp_path):
    """Not a cover, though it comes first; of two films the one marked as default."""
    paths = [tmp_path / name for name in ("dark.mp4", "light.mp4", "cover.jpg")]
    write_video(paths[0], [scene() // 3] * 50, sound=tone(2.0, 16000))
    write_video(paths[1], [scene()] * 50)
    Image.fromarray(255 - scene()).save(paths[2])
    write_sound(tmp_path / "x.wav", tone(2.0, 16000))
    both, covered = tmp_path / "both.mkv", tmp_path / "covered.mp4"
    ffmpeg("-i", paths[0], "-i", paths[1], "-map", "0:v", "-map", "1:v", "-map", "0:a", "-c", "copy",
           "-disposition:v:0", 0, "-disposition:v:1", "default", both)  # fmt: skip
    ffmpeg(
        "-i", paths[2], "-i", paths[1], "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic", covered
    )
    for path in (both, covered):
        for door, frame in shown_in_every_door(path, tmp_path / "x.wav", tmp_path).items():
            assert difference(frame, scene().astype(int)) < 5, (path.name, door)
    only_cover = tmp_path / "only.m4a"
    ffmpeg("-i", paths[2], "-i", paths[0], "-map", "0:v", "-map", "1:a", "-c", "copy", "-disposition:v:0",
           "attached_pic", only_cover)  # fmt: skip
    with open_media(only_cover), pytest.raises(ClipError, match="no video stream"):
        ClipReader("x", only_cover, tmp_path / "x.wav").__enter__()
