"""A site on 127.0.0.1 that serves small videos, and misbehaves for single ones as real sites do."""

import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from helpers import numbered, tone, write_video


class MediaServer:
    """Serve a video for every id: `with MediaServer(film) as site: ... site.url`.

    Attributes:
        url: template with {id}.
        films: {id: bytes} for the ids that have one of their own; `types`: {id: content type}, by default video/mp4.
        faults: {id: fault or (fault, number of requests)}, after which the id is served well. A fault is a status of
            HTTP, or "stall", "cut" (the connection, half-way), "long" or "short" (than the length that was announced
            the file isn't; than the file the length isn't), "garbage".
        requests: Counter of GETs by id. cookies: set of the headers that came, None for none.
        pause: seconds that every answer takes.
    """

    def __init__(self, film, pause=0.0):
        self.film, self.films, self.types, self.faults, self.pause = film, {}, {}, {}, pause
        self.requests, self.cookies = Counter(), set()
        self.lock, self.closing = threading.Lock(), threading.Event()

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{{id}}.mp4"
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def fault_of(self, video):
        """Count a request and say which fault it meets, or None."""
        with self.lock:
            self.requests[video] += 1
            fault = self.faults.get(video)
            if isinstance(fault, tuple):
                fault, left = fault
                self.faults[video] = (fault, left - 1)
                fault = fault if left > 0 else None
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        video = self.path.rpartition("/")[2].removesuffix(".mp4")
        self.site.cookies.add(self.headers.get("Cookie"))
        fault = self.site.fault_of(video)
        self.site.closing.wait(self.site.pause)
        self.close_connection = True
        if isinstance(fault, int):
            self.send_error(fault)
            return
        film = self.site.films.get(video, self.site.film)
        if fault == "garbage":
            film = np.random.default_rng(0).bytes(len(film))
        start, end = 0, len(film)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or len(film)) + 1, len(film))
            if start >= len(film):
                self.send_error(416)
                return
        length = end - start + {"long": 1000, "short": -1000}.get(fault, 0)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", self.site.types.get(video, "video/mp4"))
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(film)}")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            body = film[start : min(end, start + length)]
            self.wfile.write(body if fault not in ("cut", "stall") else film[start : len(film) // 2])
        except ConnectionError:
            pass  # whoever looks at the head of a file only doesn't wait for the rest
        if fault == "stall":
            self.site.closing.wait(20)

    def log_message(self, *_):
        """Keep quiet."""


def film(path, seconds=2.0, sound=True, size=(64, 48), fps=10, **options):
    """The bytes of a small video; its pictures show their numbers, its sound is a tone."""
    pictures = [numbered(k, size) for k in range(round(seconds * fps))]
    write_video(path, pictures, fps, sound=tone(seconds, 16000) if sound else None, **options)
    return path.read_bytes()
