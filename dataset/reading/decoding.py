"""From packets to frames: decode from a time on, or only what is shown at some times, with as little work as possible.

A packet that holds no frame that can be decoded, such as the remains of a lost one, is left out, as players do: the
frame before it stays shown. Where that would last longer than MAX_LOST, and where a frame is there but damaged, the
decoder's error is raised.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from fractions import Fraction
from heapq import heappop, heappush
from typing import cast

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dataset.reading.container import demux, seconds_per_tick

TIME_TOLERANCE = 1e-4  # a frame this much later than a time is shown at it: time stamps are rounded to ticks, seconds
MAX_LOST = 0.5  # packets that can't be decoded are left out if they last no longer than this together, seconds
SEEK_STEPS = (1.0, 10.0, 60.0, 300.0)  # how much earlier a seek starts that went too far, seconds


class PacketDecoder:
    """Decode the packets of a stream, without those that can't be decoded.

    Args:
        stream: of an open file.

    Attributes:
        lost: times of the packets that were left out, seconds.
    """

    def __init__(self, stream: av.stream.Stream) -> None:
        self.lost: list[float] = []
        context = stream.codec_context
        self._stream = cast(VideoStream, stream)
        self._length_size = _nal_length_size(context) if isinstance(context, VideoCodecContext) else 0
        self._tick = seconds_per_tick(stream)
        self._max_lost = int(MAX_LOST / self._tick)  # ticks
        self._gap: float | None = None  # since when no packet could be decoded, seconds
        self._due: int | None = None  # when the next frame begins if it has no time stamp, ticks
        self._is_video, self._is_vp8 = stream.type == "video", context is not None and context.name == "vp8"
        self.begin()

    def begin(self) -> None:
        """Begin after a seek: what was decoded before has no bearing on what follows."""
        self._pending: list[int] = []  # a heap of the time stamps of packets whose frames have not come, ticks
        self._has_begun = False

    def decode(self, packet: av.Packet) -> Iterator[av.frame.Frame]:
        """Decode the next packet, or flush the decoder by the empty one at the end of the file.

        Args:
            packet: of the stream.

        Raises:
            av.FFmpegError: the packet holds a damaged frame, or it and those before it for MAX_LOST hold none.
        """
        is_hidden = self._is_vp8 and packet.size > 0 and not bytes(packet)[0] & 0x10  # RFC 6386, 9.1: show_frame
        if self._is_video and packet.size and packet.pts is not None and not packet.is_discard and not is_hidden:
            heappush(self._pending, packet.pts)
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            time = float((packet.pts if packet.pts is not None else packet.dts or 0) * self._tick)
            self._gap = time if self._gap is None else min(self._gap, time)
            is_long = time + float((packet.duration or 0) * self._tick) - self._gap > MAX_LOST
            if is_long or (self._length_size and _slice_units(bytes(packet), self._length_size)):
                raise
            self.lost.append(time)
            return
        if packet.size:
            self._gap = None
        for frame in frames:
            yield self._take(frame)
        if not packet.size and self._pending:
            self._refuse_lost(max(self._pending) + 1)

    def flush(self) -> Iterator[av.frame.Frame]:
        """Decode what is left before the end of the file, with no more packets to come."""
        for frame in self._stream.decode(None):
            yield self._take(frame)

    def _take(self, frame: av.frame.Frame) -> av.frame.Frame:
        frame = self._with_time(frame)
        assert frame.pts is not None
        if self._is_video:
            self._refuse_lost(frame.pts)
        return frame

    def _refuse_lost(self, until: int) -> None:
        """Raise an error if packets of MAX_LOST gave neither frame nor error before the frame at `until`, ticks."""
        begin = self._pending[0] if self._pending else until
        while self._pending and self._pending[0] <= until:
            heappop(self._pending)
        # The first frames after a seek may lack what they refer to.
        if self._has_begun and until - begin > self._max_lost:
            raise av.error.InvalidDataError(0, "frames are missing")
        self._has_begun = True

    def _with_time(self, frame: av.frame.Frame) -> av.frame.Frame:
        """Give a frame without a time stamp the end of the one before it."""
        if frame.time_base is None:
            frame.time_base = Fraction(self._tick)
        if frame.pts is None:
            frame.pts = self._due or 0
        if isinstance(frame, av.AudioFrame):
            duration = round(frame.samples / frame.sample_rate / self._tick)
        else:
            duration = getattr(frame, "duration", 0)
        self._due = frame.pts + (duration or 1)
        return frame


def decode_from(
    container: InputContainer, stream: av.stream.Stream, time: float, decoder: PacketDecoder
) -> Iterator[av.frame.Frame]:
    """Decode a stream in display order, from the frame shown at a time or an earlier one on.

    Args:
        container: open file.
        stream: one of its streams.
        time: on the stream's own clock, seconds.
        decoder: of the stream.
    """

    def decode() -> Iterator[av.frame.Frame]:
        decoder.begin()
        for packet in demux(container, stream):
            yield from decoder.decode(packet)

    return _decode_after_seek(container, stream, time, decode)


def decode_at(
    container: InputContainer, stream: VideoStream, times: list[float], decoder: PacketDecoder | None = None
) -> Iterator[av.VideoFrame]:
    """Decode only what is shown at some times.

    Half of a typical video's frames are disposable: no other frame refers to them. Leaving them out takes a third
    less time.

    Args:
        container: open file.
        stream: its video.
        times: ascending, on the stream's own clock, seconds.
        decoder: of the stream; by default a new one.

    Yields:
        in display order: the frames shown at `times`, one frame after the last of them, and the frames that the
        decoder needs for these.
    """
    decoder = decoder or PacketDecoder(stream)
    return _decode_after_seek(container, stream, times[0], lambda: _decode_needed(container, stream, times, decoder))


def frame_stamps(container: InputContainer, stream: VideoStream) -> Iterator[float]:
    """List the times of all frames of a video on its own clock, in the order of decoding, without decoding, seconds.

    Args:
        container: open file.
        stream: its video.
    """
    seek(container, stream, None)
    tick = seconds_per_tick(stream)
    for packet in demux(container, stream):
        if packet.pts is not None and not packet.is_discard:
            yield float(packet.pts * tick)


def seek(container: InputContainer, stream: av.stream.Stream, time: float | None) -> None:
    """Go to the last key frame that is decoded by a time, or to the first one.

    Args:
        container: open file.
        stream: one of its streams.
        time: on the stream's own clock, seconds; None for the beginning.
    """
    tick = seconds_per_tick(stream)
    try:
        container.seek(0 if time is None else int(time / tick), stream=stream)
    except av.FFmpegError:  # no key frame comes before that time: all that follows the first packet
        container.seek(stream.start_time or 0, stream=stream, any_frame=True)


def _decode_after_seek(
    container: InputContainer, stream: av.stream.Stream, time: float, decode: Callable[[], Iterator]
) -> Iterator:
    # A seek goes to a key frame by the time at which it is decoded. With reordered frames it may be shown only
    # after `time`, or what lies before it lacks a reference; and in some containers it goes to the next one. Then start
    # earlier, at last at the beginning, which takes long in a film.
    earlier = [time - step for step in SEEK_STEPS if time > step]
    for start in (time + TIME_TOLERANCE, *earlier, None):
        seek(container, stream, start)
        frames = decode()
        first = next(frames, None)
        if first is not None and first.time <= time + TIME_TOLERANCE and not first.is_corrupt:
            break
    if first is not None:
        yield first
        yield from frames


def _decode_needed(
    container: InputContainer, stream: VideoStream, times: list[float], decoder: PacketDecoder
) -> Iterator[av.VideoFrame]:
    """Decode from here on what is shown at `times`, the frame after it, and every frame that others refer to."""
    packets = _packets_until(container, stream, times[-1])
    display_times = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
    wanted: set[int] = set()
    for time in times:
        after = bisect_right(
            display_times, (time + TIME_TOLERANCE) / seconds_per_tick(stream)
        )  # index of the next frame
        wanted.update(display_times[max(after - 1, 0) : after + 1 if time == times[-1] else max(after, 1)])
    decoder.begin()
    has_times = all(packet.pts is not None for packet in packets if packet.size)
    length_size = _nal_length_size(stream.codec_context) if has_times else 0
    for packet in packets:
        if packet.pts in wanted or not (length_size and _is_disposable(bytes(packet), length_size)):
            yield from decoder.decode(packet)  # type: ignore[misc]
    if packets and packets[-1].size:  # at the end of the file an empty packet has flushed the decoder already
        yield from decoder.flush()  # type: ignore[misc]


def _nal_length_size(codec: VideoCodecContext) -> int:
    """Bytes of a unit's length in H.264 as mp4 and mkv hold it (ISO/IEC 14496-15, 5.3.3.1); 0 for other codecs."""
    header = codec.extradata or b""
    return (header[4] & 3) + 1 if codec.name == "h264" and len(header) > 6 and header[0] == 1 else 0


def _is_disposable(packet: bytes, length_size: int) -> bool:
    """Whether an H.264 frame is one that no other frame refers to.

    These are the frames whose slices have nal_ref_idc 0 (ITU-T H.264, 7.4.1). A packet that is not made of whole
    units is damaged: the decoder must see it.
    """
    slices = _slice_units(packet, length_size)
    return bool(slices) and not any(slices)


def _slice_units(packet: bytes, length_size: int) -> list[bool]:
    """The slices of an H.264 frame: whether other frames may need each; none if the packet is not made of whole units.

    Parameters of later frames (units 7 and 8) and empty units count as slices that are needed.
    """
    slices, begin = [], 0
    while begin + length_size < len(packet):
        length = int.from_bytes(packet[begin : begin + length_size], "big")
        unit_type, nal_ref_idc = packet[begin + length_size] & 31, packet[begin + length_size] & 0x60
        if length == 0 or 1 <= unit_type <= 5 or unit_type in (7, 8):
            slices.append(length == 0 or bool(nal_ref_idc) or unit_type in (7, 8))
        begin += length_size + length
    return slices if begin == len(packet) else []


def _packets_until(container: InputContainer, stream: VideoStream, time: float) -> list[av.Packet]:
    """The packets from here on that hold all frames shown until `time`, and the first one after it."""
    packets, last = [], (time + TIME_TOLERANCE) / seconds_per_tick(stream)
    for packet in demux(container, stream):
        packets.append(packet)
        # A frame is decoded before it is shown: later packets are shown later still.
        if packet.dts is not None and packet.dts > last:
            break
    return packets
