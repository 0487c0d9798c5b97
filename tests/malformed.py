"""Malformed uploads: truncated, damaged, mislabeled or huge files, decompression bombs, paths as file names.

    python tests/malformed.py http://127.0.0.1:7860 --count 200

sends them to a running search page. Exit code 0: within 30 s each got a status that says what is wrong (or an answer,
where the rest of the file can be read), and the page still answers.
"""

import argparse
import gzip
import io
import json
import struct
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

import numpy as np
import soundfile
from helpers import numbered, tone, write_video
from PIL import Image

NAMES = (
    "x",
    "../../../../etc/passwd",
    "/etc/passwd",
    "C:\\x.exe",
    "a\x00b.jpg",
    "x" * 5000,
    "\u202egpj.exe",
    "%2e%2e/x",
)
TEXTS = (
    b"", b"\x00", b"hello", b"%PDF-1.4\n", b"%!PS-Adobe\n(/etc/passwd) run", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>", b"GIF89a" + b"\xff" * 400,
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\xff\xff\xff\xff\xff\x7f\0\0\0\0\1\0\x08\0data\xff\xff\xff\xff",
)  # fmt: skip


def good_files():
    """Small valid files: [(format, bytes)]."""
    files = []
    image = Image.fromarray(numbered(1234, (160, 120)))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        image.save(out := io.BytesIO(), kind)
        files.append((kind, out.getvalue()))
    for kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(out := io.BytesIO(), tone(1.5, 16000), 16000, format=kind)
        files.append((kind, out.getvalue()))
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("mp4", "matroska"):
            path = Path(folder) / kind
            write_video(path, [numbered(k) for k in range(20)], 10, sound=tone(2, 16000), container=kind)
            files.append((kind, path.read_bytes()))
    return files


def png(width, height, rows=b""):
    """A PNG whose header declares this size, whatever its content."""

    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows, 9)) + part(b"IEND", b"")


def bombs():
    """Small files that decode to large ones: [bytes]."""
    zeros = b"\x00" * 2**24
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../x", zeros)
    chunk = zlib.compress(b"A" * 2**24, 9)
    text = b"note\x00\x00" + chunk
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(text))
        + b"zTXt"
        + text
        + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    )
    return [
        packed.getvalue(), gzip.compress(zeros), bomb, png(2**31 - 1, 2**31 - 1), png(65535, 65535), png(7000, 7000),
        png(7000, 7000, bytes(7000 * 7001)), png(0, 0), png(1, 20_000_000),
        b"GIF89a\xff\xff\xff\xff\xf7\x00\x00" + bytes(900),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 1, 1, 0, 0),
    ]  # fmt: skip


def malformed(count, seed=0):
    """Yield `count` uploads (file name, bytes), the same for the same seed."""
    random = np.random.default_rng(seed)
    good, others = good_files(), [*TEXTS, *bombs()]
    for k in range(count):
        name = NAMES[k % len(NAMES)]
        content = bytearray(good[k // 2 % len(good)][1])
        if k % 2:
            yield name, others[k // 2 % len(others)]
        elif k % 4:
            yield name, bytes(content[: random.integers(0, len(content))])
        else:
            for index in random.integers(0, len(content), max(len(content) // 50, 4)):
                content[index] = random.integers(256)
            yield name, bytes(content)


def post(address, name, content, **headers):
    """Search for a file as the page does, and wait for what comes out: (status, JSON of the result or the error)."""
    name = name.encode("utf-8", "replace").replace(b'"', b"%22")
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=edge", **headers}
    job = urllib.request.Request(f"{address}/jobs/search", head + content + b"\r\n--edge--\r\n", headers)
    try:
        while True:
            with urllib.request.urlopen(job, timeout=60) as response:
                answer = json.load(response)
            if answer["state"] == "done":
                return 200, answer["result"] | {"job": answer["job"]}
            if answer["state"] == "failed":
                return answer["status"], answer
            job = f"{address}/jobs/{answer['job']}"
            time.sleep(0.02)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    statuses, wrong = {}, []
    for k, (name, content) in enumerate(malformed(args.count)):
        begin = time.monotonic()
        status, answer = post(args.address, name, content)
        statuses[status] = statuses.get(status, 0) + 1
        if status not in (200, 400, 413, 415) or time.monotonic() - begin > 30 or "passwd" in json.dumps(answer):
            wrong.append((k, status, answer, time.monotonic() - begin))
    status, _ = post(args.address, "x", good_files()[0][1])
    print(f"{args.count} sent: {statuses}; wrong: {wrong}; a valid file afterwards: {status}")
    sys.exit(bool(wrong) or status != 200)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
