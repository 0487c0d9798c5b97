"""What readers of whole frames have in common, whether these come from a video or from image files."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from dataset.reading.audio import SOUND_SECONDS, AudioReader, format_seconds
from dataset.reading.upright import to_upright_square

FRAME_INTERVAL = 0.04  # between consecutive frames of a stack, seconds (OtS: 25 fps)


class FrameReader(AudioReader):
    """One clip's frames and wav: a `dataset.reading.reader.OpenClip`; subclasses open and decode the frames.

    Attributes:
        video_file: what the frames are read from.
        first, last: the earliest and the latest time of a frame whose sound lies within the clip, seconds.
        video_end: the latest time at which a frame is shown, seconds.
    """

    video_file: Path
    first: float
    last: float
    video_end: float

    def decode_frames(self, times: list[float]) -> Iterator[av.VideoFrame]:
        """Yield the decoded frame that is shown at each of ascending `times`, seconds."""
        raise NotImplementedError

    def frame_times(self) -> list[float]:
        """List the times from 0 s on at which another frame is shown, ascending, and the end."""
        raise NotImplementedError

    def _end_at(self, end: float, video_end: float) -> None:
        """Set the times of the clip, whose frames end at `end` and are last shown at `video_end`, seconds."""
        self.video_end = video_end
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
            time: on the clip's own clock, so variable frame rates, cuts and late first frames stay in sync; seconds.
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
        shown = None
        for k, frame in enumerate(self.decode_frames(times)):
            out[k] = out[k - 1] if frame is shown else to_upright_square(frame, size, crop)
            shown = frame
        return out

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
