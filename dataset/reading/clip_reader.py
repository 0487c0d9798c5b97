"""Frames of a video at exact times, on the video's own clock, with as little decoding as that takes."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dataset.reading.audio import SOUND_SECONDS, AudioReader, format_seconds
from dataset.reading.container import best_stream, is_truncated, open_media, seconds_per_tick
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.upright import to_upright_square

LONGEST_PASS = 60.0  # over more of a video, every frame is decoded, seconds: to choose, all packets are in memory
FRAME_INTERVAL = 0.04  # between consecutive frames of a stack, seconds (OtS: 25 fps)
TIME_TOLERANCE = 1e-4  # a frame this much later than a time is shown at it: time stamps are rounded to ticks, seconds


class ClipReader(AudioReader):
    """One clip's video and wav, open for reading in a `with` statement: a `dataset.reading.reader.OpenClip`.

    Args:
        clip: the clip's id.
        video, audio: paths of its files.

    Attributes:
        video_file, audio_file: as given.
        first, last: the earliest and the latest time of a frame whose second of sound lies within the clip, seconds.
        video_end: the latest time at which a frame is shown, seconds.

    Raises:
        ClipError: a file is missing, empty, damaged, silent, without a video stream, or shorter than a second.
    """

    first: float
    last: float
    video_end: float
    _stream: VideoStream

    def __init__(self, clip: str, video: Path, audio: Path) -> None:
        super().__init__(clip, audio)
        self.video_file = video
        self._container: InputContainer | None = None

    def close(self) -> None:
        """Close the files."""
        if self._container is not None:
            self._container.close()
        super().close()

    def _open(self) -> None:
        for path in (self.video_file, self.audio_file):
            self._require_file(path)
        self._open_sound()
        self._open_video()

    def _open_video(self) -> None:
        if is_truncated(self.video_file):
            reason = "is truncated: a part that its header announces is missing"
            raise self._error("damaged", self.video_file, reason)
        try:
            self._container = open_media(self.video_file)
            self._stream = cast(VideoStream, best_stream(self._container, "video", self.video_file))
        except MediaError as error:
            raise error.for_clip(self.clip) from error
        if self._stream.duration is not None:
            end = float((self._stream.duration + (self._stream.start_time or 0)) * seconds_per_tick(self._stream))
        else:
            end = (self._container.duration or 0) / av.time_base
        self.video_end = end - 1e-3
        self.first, self.last = SOUND_SECONDS / 2, min(self.sound_seconds - SOUND_SECONDS / 2, self.video_end)
        if self.last < self.first:
            reason = f"lasts {format_seconds(max(end, 0.0))}, too short for a second of sound around a frame"
            raise self._error("short", self.video_file, reason)

    def frame(self, time: float, size: int) -> np.ndarray:
        """Read the frame shown at a time: (size, size, 3) uint8 RGB. The whole frame is resized, whatever its shape.

        Args:
            time: on the video's own clock, so variable frame rates, cuts and late first frames stay in sync; seconds.
            size: pixels.
        """
        return self.frames([time], size)[0]

    def frames(self, times: list[float], size: int, crop: float | None = None) -> np.ndarray:
        """Read the frames shown at several times in one pass: (len(times), size, size, 3) uint8 RGB.

        A frame is shown from its time stamp until the next one's.

        Args:
            times: ascending, seconds.
            size: pixels.
            crop: None to resize the whole frame; else the position of a square along its longer side, 0..1.
        """
        out = np.empty((len(times), size, size, 3), np.uint8)
        for k, frame in enumerate(self.decode_frames(times)):
            out[k] = to_upright_square(frame, size, crop)
        return out

    def decode_frames(self, times: list[float]) -> Iterator[av.VideoFrame]:
        """Yield the decoded frame that is shown at each of ascending `times`, seconds."""
        assert self._container is not None
        done, shown = 0, None
        if times[-1] - times[0] > LONGEST_PASS:
            frames = cast(Iterator[av.VideoFrame], decode_from(self._container, self._stream, times[0]))
        else:
            frames = decode_at(self._container, self._stream, times)
        try:
            for frame in frames:
                if frame.is_corrupt:  # the decoder concealed the damage
                    raise self._error("damaged", self.video_file, f"is damaged at {frame.time:.2f} s")
                while done < len(times) and frame.time > times[done] + TIME_TOLERANCE:
                    # Before the first frame of a stream that starts late, that frame is shown.
                    yield shown or frame
                    done += 1
                if done == len(times):
                    return
                shown = frame
        except (av.FFmpegError, OSError) as error:
            raise self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})") from error
        if shown is None:
            raise self._error("no picture", self.video_file, f"holds no frame at {times[0]:.2f} s")
        ends = shown.time + max(2.0 * float(shown.duration or 0) * float(shown.time_base or 0), 0.1)
        if times[-1] > ends:
            reason = f"is truncated at {shown.time:.2f} s, before its end at {self.last:.2f} s"
            raise self._error("damaged", self.video_file, reason)
        for _ in times[done:]:
            yield shown

    def frame_times(self) -> list[float]:
        """List the times from 0 s on at which another frame is shown, ascending, and the end, without decoding."""
        assert self._container is not None
        tick = seconds_per_tick(self._stream)
        try:
            self._container.seek(0, stream=self._stream)
            stamps = list(_stamps(self._container, self._stream))
        except (av.FFmpegError, OSError) as error:
            raise self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})") from error
        return sorted({0.0, self.video_end, *(float(pts * tick) for pts in stamps if pts >= 0)})

    def frame_stack(self, time: float, count: int, size: int) -> np.ndarray:
        """Read consecutive frames, 0.04 s apart, around a time: (count, size, size, 3) uint8 RGB.

        Near the ends of the clip they are moved inside it as a whole.

        Args:
            time: of the middle frame, seconds; of an even count, the frame after the middle.
            count: number of frames.
            size: pixels.
        """
        length = (count - 1) * FRAME_INTERVAL
        if self.video_end < length:
            raise self._error("short", self.video_file, f"is shorter than {count} frames ({length:.2f} s)")
        start = min(max(time - count // 2 * FRAME_INTERVAL, 0.0), self.video_end - length)
        return self.frames([start + k * FRAME_INTERVAL for k in range(count)], size)


def _stamps(container: InputContainer, stream: VideoStream) -> Iterator[int]:
    """The time stamps of the frames from here on, in ticks; none of frames without."""
    for packet in container.demux(stream):
        if packet.pts is not None and not packet.is_discard:
            yield packet.pts


def decode_from(container: InputContainer, stream: av.stream.Stream, time: float) -> Iterator[av.frame.Frame]:
    """Decode a stream in display order, from the frame shown at a time or an earlier one on.

    Args:
        container: open file.
        stream: one of its streams.
        time: seconds.
    """
    return _decode_after_seek(container, stream, time, lambda: container.decode(stream))


def decode_at(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[av.VideoFrame]:
    """Decode only what is shown at some times.

    Half of a typical video's frames are disposable: no other frame refers to them. Leaving them out takes a third
    less time.

    Args:
        container: open file.
        stream: its video.
        times: ascending, seconds.

    Yields:
        in display order: the frames shown at `times`, one frame after the last of them, and the frames that the
        decoder needs for these.
    """
    return _decode_after_seek(container, stream, times[0], lambda: _decode_needed(container, stream, times))


def _decode_after_seek(
    container: InputContainer, stream: av.stream.Stream, time: float, decode: Callable[[], Iterator]
) -> Iterator:
    # A seek goes to a key frame by the time at which it is decoded. With reordered frames it may be shown only
    # after `time`, or what lies before it lacks a reference: then start at the beginning.
    for start in (time + TIME_TOLERANCE, 0.0):
        container.seek(int(start / seconds_per_tick(stream)), stream=stream)
        frames = decode()
        first = next(frames, None)
        if first is not None and first.time <= time + TIME_TOLERANCE:
            break
    if first is not None:
        yield first
        yield from frames


def _decode_needed(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[av.VideoFrame]:
    """Decode from here on what is shown at `times`, the frame after it, and every frame that others refer to."""
    packets = _packets_until(container, stream, times[-1])
    display_times = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
    wanted: set[int] = set()
    for time in times:
        after = bisect_right(
            display_times, (time + TIME_TOLERANCE) / seconds_per_tick(stream)
        )  # index of the next frame
        wanted.update(display_times[max(after - 1, 0) : after + 1 if time == times[-1] else max(after, 1)])
    has_times = all(packet.pts is not None for packet in packets if packet.size)
    length_size = _nal_length_size(stream.codec_context) if has_times else 0
    for packet in packets:
        if packet.pts in wanted or not (length_size and _is_disposable(bytes(packet), length_size)):
            yield from packet.decode()
    if packets and packets[-1].size:  # at the end of the file an empty packet has flushed the decoder already
        for frame in stream.decode(None):
            frame.time_base = stream.time_base
            yield frame


def _nal_length_size(codec: VideoCodecContext) -> int:
    """Bytes of a unit's length in H.264 as mp4 and mkv hold it (ISO/IEC 14496-15, 5.3.3.1); 0 for other codecs."""
    header = codec.extradata or b""
    return (header[4] & 3) + 1 if codec.name == "h264" and len(header) > 6 and header[0] == 1 else 0


def _is_disposable(packet: bytes, length_size: int) -> bool:
    """Whether an H.264 frame is one that no other frame refers to.

    These are the frames whose slices have nal_ref_idc 0 (ITU-T H.264, 7.4.1). A packet that is not made of whole
    units is damaged: the decoder must see it.
    """
    slices, begin = 0, 0
    while begin + length_size < len(packet):
        length = int.from_bytes(packet[begin : begin + length_size], "big")
        unit_type, nal_ref_idc = packet[begin + length_size] & 31, packet[begin + length_size] & 0x60
        if length == 0 or (unit_type <= 5 and nal_ref_idc) or unit_type in (7, 8):  # 7, 8: parameters of later frames
            return False
        slices += 1 <= unit_type <= 5
        begin += length_size + length
    return slices > 0 and begin == len(packet)


def _packets_until(container: InputContainer, stream: VideoStream, time: float) -> list[av.Packet]:
    """The packets from here on that hold all frames shown until `time`, and the first one after it."""
    packets = []
    for packet in container.demux(stream):
        packets.append(packet)
        # A frame is decoded before it is shown: later packets are shown later still.
        if packet.dts is not None and packet.dts * seconds_per_tick(stream) > time + TIME_TOLERANCE:
            break
    return packets
