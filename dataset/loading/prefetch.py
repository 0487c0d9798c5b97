"""Read several streams in order, while threads read the next ones ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MAX_OPEN_STREAMS = 64  # streams that are being read, or wait to be taken, at the same time
QUEUE_SIZE = 8  # elements of each stream that may wait


def prefetch(
    streams: list[Iterable[Any]], threads: int = 2, limits: Sequence[float] | None = None
) -> Iterator[tuple[int, Any]]:
    """Iterate over streams in their order while threads read ahead, which is parallel because decoders release the GIL.

    Args:
        streams: iterables of elements that are not None.
        threads: streams that are read at the same time.
        limits: seconds to wait for the next element of each stream, until it ends with a TimeoutError and its thread,
            which can't be stopped, gets a successor. None: without end.

    Yields:
        (number of the stream, element): all of stream 0, then all of stream 1, and so on. An error is yielded as its
        stream's last element, not raised. Each stream ends with (number, None).
    """
    queues: list[queue.Queue] = [queue.Queue(QUEUE_SIZE) for _ in streams]
    numbers = iter(range(len(streams)))
    slots, closed = threading.Semaphore(MAX_OPEN_STREAMS), threading.Event()

    def read() -> None:
        while not closed.is_set():
            if not slots.acquire(timeout=0.2):
                continue
            number = next(numbers, None)
            if number is None:
                return
            try:
                for element in streams[number]:
                    _put(queues[number], element, closed)
                    if closed.is_set():
                        return
            except Exception as error:
                _put(queues[number], error, closed)
            _put(queues[number], None, closed)

    def start_thread() -> None:
        threading.Thread(target=read, daemon=True).start()

    for _ in streams[:threads]:
        start_thread()
    try:
        for number, elements in enumerate(queues):
            element: Any = True
            while element is not None:
                try:
                    element = elements.get(timeout=limits[number] if limits else None)
                except queue.Empty:
                    start_thread()
                    yield number, TimeoutError()
                    element = None
                yield number, element
            slots.release()
    finally:
        closed.set()


def _put(elements: queue.Queue, element: Any, closed: threading.Event) -> None:
    """Put an element into a queue as soon as there is room, unless the reader has closed."""
    while not closed.is_set():
        try:
            return elements.put(element, timeout=0.2)
        except queue.Full:
            pass
