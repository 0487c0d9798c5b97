"""Streams that are read one after the other, while the next ones are being read already."""

import queue
import threading

MAX_OPEN_STREAMS = 64  # streams that may be read, or wait to be taken, at a time
QUEUE_SIZE = 8  # elements of each that may wait


def prefetch(streams, threads=2):
    """Go through several streams in their order; threads read on meanwhile, decoders being free of Python's lock.

    Args:
        streams: list of iterables of elements that are not None. threads: how many are read at a time.

    Yields:
        (number, element): of stream 0 all, then of stream 1, ...; an error is its stream's last element, not raised,
        and each stream ends with (number, None).
    """
    queues, numbers = [queue.Queue(QUEUE_SIZE) for _ in streams], iter(range(len(streams)))
    room, closed = threading.Semaphore(MAX_OPEN_STREAMS), threading.Event()

    def put(number, element):
        while not closed.is_set():
            try:
                return queues[number].put(element, timeout=0.2)
            except queue.Full:
                pass

    def read():
        while not closed.is_set():
            if not room.acquire(timeout=0.2):
                continue
            number = next(numbers, None)
            if number is None:
                return
            try:
                for element in streams[number]:
                    put(number, element)
                    if closed.is_set():
                        return
            except Exception as error:
                put(number, error)
            put(number, None)

    for _ in range(min(threads, len(streams))):
        threading.Thread(target=read, daemon=True).start()
    try:
        for number, waiting in enumerate(queues):
            element = True
            while element is not None:
                element = waiting.get()
                yield number, element
            room.release()
    finally:
        closed.set()
