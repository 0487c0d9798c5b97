"""Frames of a video at exact times, on the video's own clock, with as little decoding as that takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dataset.reading.audio import SOUND_SECONDS, AudioReader, format_seconds
from dataset.reading.container import best_stream, is_truncated, open_media, seconds_per_tick
from dataset.reading.decoding import MAX_LOST, TIME_TOLERANCE, PacketDecoder, decode_at, decode_from, frame_stamps
from dataset.reading.errors import ClipError, MediaError, error_reason
from dataset.reading.limits import refuse_long
from dataset.reading.timeline import find_last_frame, origin_of
from dataset.reading.upright import to_upright_square

LONGEST_GAP = 10.0  # between two times for which one pass is made over a video; beyond it a seek is faster, seconds
LONGEST_PASS = 60.0  # a longer pass decodes every frame, seconds: to choose them, all packets must be in memory
FRAME_INTERVAL = 0.04  # between consecutive frames of a stack, seconds (OtS: 25 fps)


class ClipReader(AudioReader):
    """One clip's video and wav, open for reading in a `with` statement: a `dataset.reading.reader.OpenClip`.

    Args:
        clip: the clip's id.
        video, audio: paths of its files.
        seconds: length of the sound that belongs to a frame.

    Attributes:
        video_file, audio_file: as given.
        first, last: the earliest and the latest time of a frame whose sound lies within the clip, seconds.
        video_end: the latest time at which a frame is shown, seconds.

    Raises:
        ClipError: a file is missing, empty, damaged, silent, without a video stream, or shorter than
            `seconds`.
    """

    first: float
    last: float
    video_end: float
    _stream: VideoStream
    _decoder: PacketDecoder
    _origin: float  # on the stream's own clock, seconds
    _last_frame: float | None  # time of the last frame on that clock, if it isn't the header that states the end

    def __init__(self, clip: str, video: Path, audio: Path, seconds: float = SOUND_SECONDS) -> None:
        super().__init__(clip, audio, seconds)
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
            self._origin = origin_of(self._container)
            self._last_frame, end = find_last_frame(self._container, self._stream, self.video_file)
            refuse_long(self.video_file, end - self._origin)
        except MediaError as error:
            raise error.for_clip(self.clip) from error
        except (av.FFmpegError, OSError) as error:
            raise self._damage(error) from error
        self._decoder = PacketDecoder(self._stream)
        end -= self._origin
        self.video_end = end - 1e-3
        self.first, self.last = self.seconds / 2, min(self.sound_seconds - self.seconds / 2, self.video_end)
        if self.last < self.first:
            sound = (
                "a second of sound" if self.seconds == SOUND_SECONDS else f"data.seconds ({self.seconds:g}) of sound"
            )
            reason = f"lasts {format_seconds(max(end, 0.0))}, too short for {sound} around a frame"
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
        begin = 0
        for k, time in enumerate(times):
            if k + 1 == len(times) or times[k + 1] - time > LONGEST_GAP:
                yield from self._decode_pass(times[begin : k + 1])
                begin = k + 1

    def _decode_pass(self, times: list[float]) -> Iterator[av.VideoFrame]:
        """Do what `decode_frames` does, with one seek."""
        done, shown = 0, None
        shift = round(self._origin / seconds_per_tick(self._stream))  # to the clip's clock, ticks
        try:
            for frame in self._decode([time + self._origin for time in times]):
                frame.pts = cast(int, frame.pts) - shift
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
            raise self._damage(error) from error
        if shown is None:
            raise self._error("no picture", self.video_file, f"holds no frame at {times[0]:.2f} s")
        if self._ends_early(shown, times[-1]):
            reason = f"is truncated at {shown.time:.2f} s, before its end at {self.last:.2f} s"
            raise self._error("damaged", self.video_file, reason)
        for _ in times[done:]:
            yield shown

    def _decode(self, stamps: list[float]) -> Iterator[av.VideoFrame]:
        """Decode what is shown at `stamps`, on the stream's own clock: as few frames as possible, or all of a film."""
        assert self._container is not None
        if stamps[-1] - stamps[0] <= LONGEST_PASS:
            return decode_at(self._container, self._stream, stamps, self._decoder)
        return cast(Iterator[av.VideoFrame], decode_from(self._container, self._stream, stamps[0], self._decoder))

    def _ends_early(self, frame: av.VideoFrame, time: float) -> bool:
        """Whether the last decoded frame can't be what is shown at `time`: others are missing after it."""
        if self._last_frame is not None and frame.time >= self._last_frame - self._origin - TIME_TOLERANCE:
            return False
        return time > frame.time + max(2.0 * float(frame.duration or 0) * float(frame.time_base or 0), MAX_LOST)

    def frame_times(self) -> list[float]:
        """List the times from 0 s on at which another frame is shown, ascending, and the end, without decoding."""
        assert self._container is not None
        try:
            times = [time - self._origin for time in frame_stamps(self._container, self._stream)]
        except (av.FFmpegError, OSError) as error:
            raise self._damage(error) from error
        return sorted({0.0, self.video_end, *(time for time in times if time > 0)})

    @property
    def undecodable(self) -> list[float]:
        """Times of the packets that were left out so far, as they can't be decoded, ascending, seconds."""
        return sorted({time - self._origin for time in self._decoder.lost})

    def _damage(self, error: BaseException) -> ClipError:
        return self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})")

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
