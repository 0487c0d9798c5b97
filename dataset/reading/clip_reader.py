"""Pictures of a video at exact times, on the video's own clock, with as little decoding as that takes."""

from bisect import bisect_right

import av
import numpy as np

from dataset.reading.audio import SOUND_SECONDS, AudioReader
from dataset.reading.errors import error_reason

FRAME_INTERVAL = 0.04  # from one frame to the next where several are read, seconds (OtS: 25 a second)
# Names of the parts ("boxes") that an mp4 consists of.
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp", b"mfra", b"uuid", b"udta")


class ClipReader(AudioReader):
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
        if is_truncated(self.video_file):
            raise self._error("damaged", self.video_file, "is truncated: a part that its header announces is missing")
        try:
            self._container = av.open(str(self.video_file), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise self._error(
                "damaged", self.video_file, f"can't be opened as a video ({error_reason(error)})"
            ) from error
        if not self._container.streams.video:
            raise self._error("no picture", self.video_file, "has no video stream")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            raise self._error("damaged", self.video_file, "has a video stream of an unknown kind")
        self._stream.codec_context.thread_count = 1  # loader processes share the cores, not decoder threads
        if self._stream.duration is not None:
            end = float((self._stream.duration + (self._stream.start_time or 0)) * self._stream.time_base)
        else:
            end = (self._container.duration or 0) / av.time_base
        self.shown_until = end - 1e-3
        self.first, self.last = SOUND_SECONDS / 2, min(self.sound_seconds - SOUND_SECONDS / 2, self.shown_until)
        if self.last < self.first:
            raise self._error(
                "short", self.video_file, f"lasts {end:.2f} s, too short for a second of sound around a frame"
            )

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
        for k, frame in enumerate(self.decode_frames(times)):
            out[k] = to_upright_rgb(frame, size, size)
        return out

    def decode_frames(self, times):
        """Yield the decoded frame, an `av.VideoFrame`, that is shown at each of ascending `times`, seconds."""
        done, shown = 0, None
        try:
            for frame in decode_at(self._container, self._stream, times):
                if frame.is_corrupt:  # the decoder patched it up with what it had
                    raise self._error("damaged", self.video_file, f"is damaged at {frame.time:.2f} s")
                while done < len(times) and frame.time > times[done] + TIME_TOLERANCE:
                    # Before the first picture of a stream that starts late there is nothing but that picture.
                    yield shown or frame
                    done += 1
                if done == len(times):
                    return
                shown = frame
        except (av.FFmpegError, OSError) as error:
            raise self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})") from error
        if shown is None:
            raise self._error("no picture", self.video_file, f"holds no picture at {times[0]:.2f} s")
        ends = shown.time + max(2.0 * float(shown.duration or 0) * float(shown.time_base), 0.1)
        if times[-1] > ends:
            raise self._error(
                "damaged", self.video_file, f"is truncated at {shown.time:.2f} s, before its end at {self.last:.2f} s"
            )
        for _ in times[done:]:
            yield shown

    def frame_stack(self, time, count, size):
        """`count` frames, FRAME apart, around `time`: (count, size, size, 3) uint8; of an even count one more before.

        Near the ends of the clip they are moved inside it as a whole.
        """
        length = (count - 1) * FRAME_INTERVAL
        if self.shown_until < length:
            raise self._error("short", self.video_file, f"is shorter than {count} frames ({length:.2f} s)")
        start = min(max(time - count // 2 * FRAME_INTERVAL, 0.0), self.shown_until - length)
        return self.frames([start + k * FRAME_INTERVAL for k in range(count)], size)


def is_truncated(path):
    """Whether the last part of an mp4 ends beyond the end of the file, as after a download that broke off."""
    size, position = path.stat().st_size, 0
    with open(path, "rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # of 64 bits, after the name
                length = int.from_bytes(head[8:16], "big")
            if head[4:8] not in MP4_BOXES or length < 8:  # another format, or the part that reaches to the end
                return False
            position += length
    return position > size


TIME_TOLERANCE = (
    1e-4  # time stamps are whole ticks of the video's clock: a time is met by one that is this much later, seconds
)


def upright_size(frame):
    """(width, height) of a decoded frame as it is to be shown: phones film lying down, and say how to turn it."""
    return (frame.height, frame.width) if frame.rotation // 90 % 2 else (frame.width, frame.height)


def to_upright_rgb(frame, width, height):
    """A decoded frame as it is to be shown, resized whatever its shape: (height, width, 3) uint8 RGB."""
    turns = frame.rotation // 90  # counterclockwise
    width, height = (height, width) if turns % 2 else (width, height)
    # One thread: loader processes share the cores.
    pixels = frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def decode_from(container, stream, time):
    """Frames of an open container's stream in the order in which they are shown, from the one at `time`, seconds, or
    an earlier one on.
    """
    return _decode_after_seek(container, stream, time, lambda: container.decode(stream))


def decode_at(container, stream, times):
    """The same, but only what is shown at ascending `times`, seconds, one frame after the last of them, and what the
    decoder needs for these, which are yielded too.

    Half of a usual video's pictures are such that no other refers to them: leaving these out takes a third of the time.
    """
    return _decode_after_seek(container, stream, times[0], lambda: _decode_needed(container, stream, times))


def _decode_after_seek(container, stream, time, decode):
    # A seek goes to a key frame by the time at which it is decoded. With reordered pictures it may be shown only
    # after `time`, or what lies before it lacks a reference: then begin at the beginning.
    for start in (time + TIME_TOLERANCE, 0.0):
        container.seek(int(start / stream.time_base), stream=stream)
        frames = decode()
        first = next(frames, None)
        if first is not None and first.time <= time + TIME_TOLERANCE:
            break
    if first is not None:
        yield first
        yield from frames


def _decode_needed(container, stream, times):
    """Decode from here on what is shown at `times`, the frame after it, and all that other pictures refer to."""
    packets = _packets_until(container, stream, times[-1])
    shown = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
    wanted = set()
    for time in times:
        place = bisect_right(shown, (time + TIME_TOLERANCE) / stream.time_base)
        wanted.update(shown[max(place - 1, 0) : place + 1 if time == times[-1] else max(place, 1)])
    has_times = all(packet.pts is not None for packet in packets if packet.size)
    lengths = _nal_length_size(stream.codec_context) if has_times else 0
    for packet in packets:
        if packet.pts in wanted or not (lengths and _is_disposable(bytes(packet), lengths)):
            yield from packet.decode()
    if packets and packets[-1].size:  # at the end of the file an empty packet has fetched them already
        for frame in stream.decode(None):  # those that waited for others
            frame.time_base = stream.time_base
            yield frame


def _nal_length_size(codec):
    """How many bytes a unit's length takes in H.264 as mp4 and mkv hold it (ISO/IEC 14496-15, 5.3.3.1); 0 elsewhere."""
    about = codec.extradata or b""
    return (about[4] & 3) + 1 if codec.name == "h264" and len(about) > 6 and about[0] == 1 else 0


def _is_disposable(packet, lengths):
    """Whether an H.264 picture is one that no other picture refers to.

    Such are those whose slices have nal_ref_idc 0 (ITU-T H.264, 7.4.1). A packet that is not made of whole units is
    damaged: the decoder shall see it.
    """
    slices, begin = 0, 0
    while begin + lengths < len(packet):
        length = int.from_bytes(packet[begin : begin + lengths], "big")
        kind, refers = packet[begin + lengths] & 31, packet[begin + lengths] & 0x60
        if length == 0 or (kind <= 5 and refers) or kind in (7, 8):  # 7, 8: settings for later pictures
            return False
        slices += 1 <= kind <= 5
        begin += lengths + length
    return slices > 0 and begin == len(packet)


def _packets_until(container, stream, time):
    """The packets from here on that hold all pictures shown until `time`, and the first one after it."""
    packets = []
    for packet in container.demux(stream):
        packets.append(packet)
        # A picture is decoded before it is shown: later packets are shown later still.
        if packet.dts is not None and packet.dts * stream.time_base > time + TIME_TOLERANCE:
            break
    return packets
