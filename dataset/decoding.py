"""Pictures of a video at exact times, on the video's own clock, with as little decoding as that takes."""

from bisect import bisect_right

import numpy as np

CLOCK = 1e-4  # time stamps are whole ticks of the video's clock: a time is met by one that is this much later, seconds


def upright_size(frame):
    """(width, height) of a decoded frame as it is to be shown: phones film lying down, and say how to turn it."""
    return (frame.height, frame.width) if frame.rotation // 90 % 2 else (frame.width, frame.height)


def upright(frame, width, height):
    """A decoded frame as it is to be shown, resized whatever its shape: (height, width, 3) uint8 RGB."""
    turns = frame.rotation // 90  # counterclockwise
    width, height = (height, width) if turns % 2 else (width, height)
    # One thread: loader processes share the cores.
    pixels = frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def decoded_from(container, stream, time):
    """Frames of an open container's stream in the order in which they are shown, from the one at `time`, seconds, or
    an earlier one on.
    """
    return _from(container, stream, time, lambda: container.decode(stream))


def decoded_at(container, stream, times):
    """The same, but only what is shown at ascending `times`, seconds, one frame after the last of them, and what the
    decoder needs for these, which are yielded too.

    Half of a usual video's pictures are such that no other refers to them: leaving these out takes a third of the time.
    """
    return _from(container, stream, times[0], lambda: _needed(container, stream, times))


def _from(container, stream, time, decode):
    # A seek goes to a key frame by the time at which it is decoded. With reordered pictures it may be shown only
    # after `time`, or what lies before it lacks a reference: then begin at the beginning.
    for start in (time + CLOCK, 0.0):
        container.seek(int(start / stream.time_base), stream=stream)
        frames = decode()
        first = next(frames, None)
        if first is not None and first.time <= time + CLOCK:
            break
    if first is not None:
        yield first
        yield from frames


def _needed(container, stream, times):
    """Decode from here on what is shown at `times`, the frame after it, and all that other pictures refer to."""
    packets = _packets_until(container, stream, times[-1])
    shown = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
    wanted = set()
    for time in times:
        place = bisect_right(shown, (time + CLOCK) / stream.time_base)
        wanted.update(shown[max(place - 1, 0) : place + 1 if time == times[-1] else max(place, 1)])
    has_times = all(packet.pts is not None for packet in packets if packet.size)
    lengths = _bytes_of_a_length(stream.codec_context) if has_times else 0
    for packet in packets:
        if packet.pts in wanted or not (lengths and _is_referred_to_by_none(bytes(packet), lengths)):
            yield from packet.decode()
    if packets and packets[-1].size:  # at the end of the file an empty packet has fetched them already
        for frame in stream.decode(None):  # those that waited for others
            frame.time_base = stream.time_base
            yield frame


def _bytes_of_a_length(codec):
    """How many bytes a unit's length takes in H.264 as mp4 and mkv hold it (ISO/IEC 14496-15, 5.3.3.1); 0 elsewhere."""
    about = codec.extradata or b""
    return (about[4] & 3) + 1 if codec.name == "h264" and len(about) > 6 and about[0] == 1 else 0


def _is_referred_to_by_none(packet, lengths):
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
        if packet.dts is not None and packet.dts * stream.time_base > time + CLOCK:
            break
    return packets
