"""The dataset folder: which clips a split has, a frame at time t, a second of sound around time t.

    ROOT/{train,val,test}/vid2genre.json      {id: [AudioSet mid, ...]}
                         /video/ID.mp4
                         /audio/ID.wav        sample 0 is time 0 of the video's own clock
                         /boxes.json          optional: {id: [{"time", "box", "label", "sounding"}, ...]}

A clip that can't be read raises `ClipError` with its name and the reason. Nothing takes its place.
"""

import json
import re
from contextlib import contextmanager
from math import ceil, gcd
from pathlib import Path

import av
import numpy as np
import soundfile

from dataset.decoding import CLOCK, decoded_at, upright
from dataset.remote import is_url, place, read_bytes
from utils.errors import UserError

SECOND = 1.0  # length of the sound that belongs to a frame (OtS sec. 3)
FRAME = 0.04  # from one frame to the next where several are read, seconds (OtS: 25 a second)
SAME_FRAME = 0.02  # an annotation is of the frame at `time` if it is no farther from it, seconds: half a frame at 25/s
HUGE = 1e300  # a number beyond is none: infinite, or a whole one that no float can hold
LONGEST_NAME = 251  # file systems take 255 bytes, ".mp4" included
# Control characters, line ends, what turns the direction of writing, halves of characters.
NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Names of the parts ("boxes") that an mp4 consists of.
MP4_PARTS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp", b"mfra", b"uuid", b"udta")


class ClipError(UserError):
    """A clip that can't be read. `clip` is its id."""

    def __init__(self, clip, message):
        super().__init__(message)
        self.clip = clip


class Clips:
    """The clips of one split.

    Args:
        root: dataset folder.
        split: "train", "val" or "test".
        on_error: "stop" raises at a clip that lacks one of its files; "skip" leaves it out and lists it in `skipped`.

    Attributes:
        ids: sorted list of str.
        labels: list of lists of mids, in the order of `ids`.
        boxes: {id: list of boxes}, empty where the split has no boxes.json.
        skipped: {id: reason}.

    Raises:
        UserError: no such folder, an empty split, a vid2genre.json or boxes.json that is missing or not of our form.
        ClipError: on_error is "stop" and a clip lacks its video or its sound.
    """

    def __init__(self, root, split, on_error="stop"):
        genres = self._read_tables(root, split)
        on_disk = {kind: _stems(self.folder / kind, suffix) for kind, suffix in (("video", ".mp4"), ("audio", ".wav"))}
        for clip in sorted(genres):
            missing = [kind for kind in ("video", "audio") if clip not in on_disk[kind]]
            if missing:
                self._refuse(clip, f"clip {clip} has no {' and no '.join(missing)} file in {self.folder}", on_error)
        for kind, other in (("video", "audio"), ("audio", "video")):
            for clip in sorted(on_disk[kind] - on_disk[other] - set(genres)):
                self._refuse(clip, f"clip {clip} has no {other} file in {self.folder}", on_error)
        self._take(genres, "vid2genre.json lists no clip that has both its files")

    def _read_tables(self, root, split):
        """Find the split's folder and read its boxes.json; returns what its vid2genre.json holds."""
        self.folder, self.skipped = place(root) / split, {}
        if not is_url(root) and not Path(root).is_dir():
            raise UserError(
                f"there is no dataset folder {root}: make the demo's with `python data/make_demo_data.py`, or point "
                "--data.root at a folder with train/, val/ and test/ (README, section Data)"
            )
        if not is_url(root) and not self.folder.is_dir():
            raise UserError(f"dataset {root} has no split {split!r}: {self.folder} is missing")
        self.boxes = read_boxes(self.folder / "boxes.json")
        return read_genres(self.folder / "vid2genre.json")

    def _take(self, genres, otherwise):
        """The clips are those of `genres` that were not skipped; `otherwise` says why there is none."""
        self.ids = sorted(set(genres) - set(self.skipped))
        self.labels = [genres[clip] for clip in self.ids]
        if not self.ids:
            raise UserError(f"split {self.folder} is empty: {otherwise}")

    def _refuse(self, clip, message, on_error):
        if on_error == "stop":
            raise ClipError(clip, f"{message}: add it, remove the clip, or pass --data.on_error skip")
        self.skipped[clip] = message

    def __len__(self):
        return len(self.ids)

    def annotated(self, index):
        """Times at which a clip's objects that sound are annotated, ascending list of seconds; empty if none is."""
        return sorted({box["time"] for box in self.boxes.get(self.ids[index], ()) if box["sounding"]})

    def boxes_at(self, index, time):
        """What is annotated in the frame at `time`, seconds: list of the boxes.json entries; empty if nothing is."""
        return [box for box in self.boxes.get(self.ids[index], ()) if abs(box["time"] - time) <= SAME_FRAME]

    @contextmanager
    def open(self, index):
        """Open one clip: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        clip = self.ids[index]
        with OpenClip(clip, self.folder / "video" / f"{clip}.mp4", self.folder / "audio" / f"{clip}.wav") as opened:
            yield opened


class OpenSound:
    """One clip's wav, open for reading.

    Attributes:
        sound_seconds: the length of what is there, whatever the header promises, seconds.
        native_rate, native_samples: as the wav is, Hz and samples of a channel.

    Raises:
        ClipError: the file is missing, empty, damaged, silent, or shorter than a second.
    """

    def __init__(self, clip, audio):
        self.clip, self.audio_file = clip, audio
        self._wav = None

    def __enter__(self):
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._wav is not None:
            self._wav.close()

    def _open(self):
        self._check(self.audio_file)
        self._open_sound()

    def _check(self, path):
        if not path.is_file():
            raise self._error(path, "is missing")
        if path.stat().st_size == 0:
            raise self._error(path, "is empty (0 bytes)")

    def _error(self, path, reason):
        return ClipError(self.clip, f"{path} {reason}: mend or remove clip {self.clip}, or pass --data.on_error skip")

    def _open_sound(self):
        try:
            self._wav = soundfile.SoundFile(self.audio_file)
        except soundfile.LibsndfileError as error:
            raise self._error(self.audio_file, f"can't be read as a wav ({error.error_string.strip('.')})") from error
        self.native_rate, self.native_samples = self._wav.samplerate, self._wav.frames
        self.sound_seconds = self.native_samples / self.native_rate
        if self.sound_seconds < SECOND:
            raise self._error(self.audio_file, f"lasts {self.sound_seconds:.2f} s, shorter than one second")

    def sound(self, time, rate):
        """The second of sound whose mid-point is `time`: (rate,) int16 mono; other rates are resampled.

        Near the ends of the clip the second is moved inside it. A digitally silent second is real data, a silent
        clip is an error.
        """
        start = min(max(round((time - SECOND / 2) * rate), 0), self.samples(rate) - rate)
        return self.part(start, rate, rate)

    def whole_sound(self, rate):
        """The whole sound of the clip: (samples,) int16 mono at `rate`."""
        return self.part(0, self.samples(rate), rate)

    def part(self, start, count, rate):
        """Samples start..start + count of the whole sound at `rate`: (count,) int16 mono. A silent clip is an error."""
        sound = self._resampled(start, count, rate)
        if not sound.any():
            self._refuse_silence()
        return sound

    def samples(self, rate):
        """Samples of the whole sound at `rate`."""
        return self.native_samples * rate // self.native_rate

    def _resampled(self, start, count, rate):
        """Samples start..start+count of the sound as if all of it had been resampled to `rate`."""
        if rate == self.native_rate:
            return self._as_it_is(start, count)
        return resampled(self._read, start, count, self.native_rate, rate)

    def _as_it_is(self, start, count):
        """Native samples as (count,) int16."""
        return _to_int16(self._read(start, count))

    def _read(self, start, count):
        """Native samples as (count,) float32 in -1..1, channels averaged; zeros outside the file."""
        lead = max(-start, 0)
        try:
            self._wav.seek(start + lead)
            found = self._wav.read(
                max(min(count - lead, self._wav.frames - start - lead), 0), "float32", always_2d=True
            )
        except soundfile.LibsndfileError as error:
            raise self._error(self.audio_file, f"is damaged ({error.error_string.strip('.')})") from error
        expected = min(count - lead, self._wav.frames - start - lead)
        if len(found) < expected:
            raise self._error(self.audio_file, "breaks off before its end")
        if not np.isfinite(found).all():
            raise self._error(self.audio_file, "holds samples that are not numbers (NaN or infinite)")
        out = np.zeros(count, np.float32)
        out[lead : lead + len(found)] = found.mean(1) if found.shape[1] > 1 else found[:, 0]
        return out

    def _refuse_silence(self):
        # As the net would hear it: channels that cancel out, or a murmur below 16 bits, are silence too.
        if not self._as_it_is(0, self.native_samples).any():
            raise self._error(self.audio_file, "is silent from start to end")


class OpenClip(OpenSound):
    """One clip's two files, open for reading.

    Attributes:
        first, last: the earliest and the latest time of a frame whose second of sound lies within the clip, seconds.
        shown_until: the latest time at which a frame is shown, seconds.

    Raises:
        ClipError: a file is missing, empty, damaged, silent, without a video stream, or shorter than a second.
    """

    def __init__(self, clip, video, audio):
        super().__init__(clip, audio)
        self.video_file, self._container = video, None

    def __exit__(self, *_):
        if self._container is not None:
            self._container.close()
        super().__exit__()

    def _open(self):
        for path in (self.video_file, self.audio_file):
            self._check(path)
        self._open_sound()
        self._open_video()

    def _open_video(self):
        if is_cut_short(self.video_file):
            raise self._error(self.video_file, "is cut short: a part that its header announces is missing")
        try:
            self._container = av.open(str(self.video_file), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise self._error(self.video_file, f"can't be opened as a video ({reason(error)})") from error
        if not self._container.streams.video:
            raise self._error(self.video_file, "has no video stream")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            raise self._error(self.video_file, "has a video stream of an unknown kind")
        self._stream.codec_context.thread_count = 1  # loader processes share the cores, not decoder threads
        if self._stream.duration is not None:
            end = float((self._stream.duration + (self._stream.start_time or 0)) * self._stream.time_base)
        else:
            end = (self._container.duration or 0) / av.time_base
        self.shown_until = end - 1e-3
        self.first, self.last = SECOND / 2, min(self.sound_seconds - SECOND / 2, self.shown_until)
        if self.last < self.first:
            raise self._error(self.video_file, f"lasts {end:.2f} s, too short for a second of sound around a frame")

    def frame(self, time, size):
        """The frame shown at `time`: (size, size, 3) uint8 RGB. The whole frame is resized, whatever its shape.

        The time is on the video's own clock, so variable frame rates, cuts and late first pictures stay in step.
        """
        return self.frames([time], size)[0]

    def frames(self, times, size):
        """The frames shown at ascending `times`, seconds: (len(times), size, size, 3) uint8, in one pass.

        A frame is shown from its time stamp until the next one's.
        """
        out = np.empty((len(times), size, size, 3), np.uint8)
        for k, frame in enumerate(self.shown(times)):
            out[k] = upright(frame, size, size)
        return out

    def shown(self, times):
        """Yield the decoded frame, an `av.VideoFrame`, that is shown at each of ascending `times`, seconds."""
        done, shown = 0, None
        try:
            for frame in decoded_at(self._container, self._stream, times):
                if frame.is_corrupt:  # the decoder patched it up with what it had
                    raise self._error(self.video_file, f"is damaged at {frame.time:.2f} s")
                while done < len(times) and frame.time > times[done] + CLOCK:
                    # Before the first picture of a stream that starts late there is nothing but that picture.
                    yield shown or frame
                    done += 1
                if done == len(times):
                    return
                shown = frame
        except (av.FFmpegError, OSError) as error:
            raise self._error(self.video_file, f"is damaged ({reason(error)})") from error
        if shown is None:
            raise self._error(self.video_file, f"holds no picture at {times[0]:.2f} s")
        ends = shown.time + max(2.0 * float(shown.duration or 0) * float(shown.time_base), 0.1)
        if times[-1] > ends:
            raise self._error(self.video_file, f"breaks off at {shown.time:.2f} s, before its end at {self.last:.2f} s")
        for _ in times[done:]:
            yield shown

    def moving(self, time, count, size):
        """`count` frames, FRAME apart, around `time`: (count, size, size, 3) uint8; of an even count one more before.

        Near the ends of the clip they are moved inside it as a whole.
        """
        length = (count - 1) * FRAME
        if self.shown_until < length:
            raise self._error(self.video_file, f"is shorter than {count} frames ({length:.2f} s)")
        start = min(max(time - count // 2 * FRAME, 0.0), self.shown_until - length)
        return self.frames([start + k * FRAME for k in range(count)], size)


def resampled(read, start, count, native_rate, rate):
    """Samples start..start+count of a sound as if all of it had been resampled to `rate`: (count,) int16.

    Args:
        read: callable (start, count) of native samples -> (count,) float32 in -1..1; zeros outside of the sound.
        native_rate, rate: Hz.
    """
    if rate == native_rate:
        return _to_int16(read(start, count))
    from scipy.signal import resample_poly  # half a second to import: only another rate pays for it

    up, down = rate // gcd(rate, native_rate), native_rate // gcd(rate, native_rate)
    margin = filter_margin(native_rate, rate)
    first = (start // up) * down - margin  # native sample that falls on an output sample
    skip = margin // down * up + start % up
    native = read(first, ceil((skip + count) * down / up) + margin)
    return _to_int16(resample_poly(native, up, down)[skip : skip + count])


def filter_margin(native_rate, rate):
    """Native samples that are read beyond what is resampled, on either side: the filter (10 periods of the lower
    rate) shall see real sound.
    """
    up, down = rate // gcd(rate, native_rate), native_rate // gcd(rate, native_rate)
    return ceil(10 * max(up, down) / up / down) * down


def _to_int16(sound):
    return np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)


def reason(error):
    """What a decoder's or the system's error says, without a full stop."""
    return (getattr(error, "strerror", None) or str(error)).strip(".")


def _stems(folder, suffix):
    """Names of the files of one kind, without their suffix."""
    if not folder.is_dir():
        raise UserError(f"dataset folder {folder} is missing: clips are video/ID.mp4 and audio/ID.wav")
    return {path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)}


def is_cut_short(path):
    """Whether the last part of an mp4 ends beyond the end of the file, as after a download that broke off."""
    size, position = path.stat().st_size, 0
    with open(path, "rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # of 64 bits, after the name
                length = int.from_bytes(head[8:16], "big")
            if head[4:8] not in MP4_PARTS or length < 8:  # another format, or the part that reaches to the end
                return False
            position += length
    return position > size


def load_json(path, form):
    """Load any JSON, or say what is wrong with the file, which must hold `form`."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it must hold {form}") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): it must hold {form}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): it must hold {form}") from None


def is_text(value):
    """Whether a value is a string that can stand in a message and in a file: one line, without control characters."""
    return isinstance(value, str) and not NOT_TEXT.search(value)


def is_file_name(clip):
    """Whether an id can be the name of a file: what could lead out of the folder is no id."""
    is_inside = is_text(clip) and clip not in ("", ".", "..") and not set(clip) & set("/\\")
    return is_inside and len(clip.encode()) <= LONGEST_NAME


def read_genres(path):
    """A split's vid2genre.json: {id: [mid, ...]}; every id can be the name of a file.

    Raises:
        UserError: it is missing or not of our form.
    """
    return _read_json(path, _are_mids, "id: [mid, ...], where video/id.mp4 is a file")


def read_boxes(path):
    """A split's boxes.json: {id: list of boxes}, empty where there is no such file.

    Raises:
        UserError: it is not of our form.
    """
    form = 'id: [{"time": seconds, "box": [x0, y0, x1, y1], "label": mid, "sounding": true or false}, ...]'
    return _read_json(path, _are_boxes, form) if path.exists() else {}


def _read_json(path, is_right, form):
    """Load a JSON table whose entries all satisfy `is_right(key, value)`, or say what is wrong."""
    content = load_json(path, form)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a table: it must hold {form}")
    for key, value in content.items():
        if not is_right(key, value):
            raise UserError(f"{path} is not of our form at {key[:80]!r}: it must hold {form}")
    return content


def _are_mids(clip, mids):
    return is_file_name(clip) and isinstance(mids, list) and all(map(is_text, mids))


def _are_boxes(_, boxes):
    def is_number(value):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < HUGE

    return isinstance(boxes, list) and all(
        isinstance(box, dict)
        and is_number(box.get("time"))
        and isinstance(box.get("box"), list) and len(box["box"]) == 4 and all(map(is_number, box["box"]))
        and is_text(box.get("label")) and isinstance(box.get("sounding"), bool)
        for box in boxes
    )  # fmt: skip
