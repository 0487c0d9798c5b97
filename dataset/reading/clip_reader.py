"""Frames of a video at exact times, on the video's own clock, with as little decoding as that takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.container import best_stream, is_truncated, open_media, seconds_per_tick
from dataset.reading.decoding import MAX_LOST, TIME_TOLERANCE, PacketDecoder, decode_at, decode_from, frame_stamps
from dataset.reading.errors import ClipError, MediaError, error_reason
from dataset.reading.frame_reader import FrameReader
from dataset.reading.limits import refuse_long
from dataset.reading.timeline import find_last_frame, origin_of

LONGEST_GAP = 10.0  # between two times for which one pass is made over a video; beyond it a seek is faster, seconds
LONGEST_PASS = 60.0  # a longer pass decodes every frame, seconds: to choose them, all packets must be in memory


class ClipReader(FrameReader):
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
        self._end_at(end, end - 1e-3)

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
