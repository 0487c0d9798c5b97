"""The settings of a download."""

from dataclasses import dataclass
from typing import Literal

CLIP = "{clip}"  # in an address


@dataclass(frozen=True)
class DownloadSettings:
    """Settings of data/download_video_audio.py that its workers need.

    Attributes:
        url: address of a video; {id} stands for its YouTube id. Or of a clip that is cut already, `CLIP` for its name.
        mode: "full" downloads whole videos, "section" only the seconds that are needed.
        height: largest height of the frames, pixels.
        fps: frames per second of a clip; 0 keeps the source's own times.
        workers: downloads at the same time.
        sleep: pause between the downloads of a worker, seconds.
        rate: largest rate of a worker, KB/s; 0 for any.
        cookies: content of a file of cookies, or None.
        proxy: address of a proxy, or None.
        retries: further tries after a failure of the network.
        backoff: pause before the first of them, seconds; it doubles.
        timeout: seconds without data after which a connection is closed.
        min_free: GB that must be free on the disk.
    """

    url: str
    mode: Literal["full", "section"]
    height: int
    fps: int
    workers: int
    sleep: float
    rate: int
    cookies: str | None
    proxy: str | None
    retries: int
    backoff: float
    timeout: float
    min_free: float
