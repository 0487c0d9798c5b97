"""Benchmark of samples from shards: the same JPEGs and sounds stored and read by others' libraries."""

import contextlib
import io
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg

from dataset.baseline_loaders import RATE
from evaluation.speed.benchmarks.loader_benchmarks import NUM_CLIPS, BenchmarkClips, shard_batches
from evaluation.speed.benchmarks.optional_libraries import FFCV, LITDATA, STREAMING, WEBDATASET, Library
from evaluation.speed.timing import Work, comparison, interleave
from utils.config import Config

BATCH = NUM_CLIPS  # samples of a batch, as of ours
FRAMES_PER_CLIP = 25  # that the others store as samples
SIDE = 256
HEADER = 44  # bytes of a wav
LIMIT = "JPEG alone (the limit)"


class Stored(NamedTuple):
    """A sample: an encoded frame of SIDE x SIDE pixels, and its second of sound as a wav."""

    jpeg: bytes
    wav: bytes


class Decoded(NamedTuple):
    """A sample as a batch holds it: (SIDE, SIDE, 3) uint8 and (RATE,) int16."""

    frame: np.ndarray
    sound: np.ndarray


Batches = Callable[[], int]  # reads all samples once, as batches; returns their number


def read_stored(clips: BenchmarkClips) -> list[Stored]:
    """Read FRAMES_PER_CLIP frames of each clip, and a second of sound for each, from our shards.

    Args:
        clips: of the benchmark.
    """
    frames: dict[str, list[bytes]] = {}
    sounds: dict[str, bytes] = {}
    for path in sorted((clips.shards.folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                content = tar.extractfile(member)
                if content and kind.endswith("jpg"):
                    frames.setdefault(key, []).append(content.read())
                elif content and kind == "wav":
                    sounds[key] = content.read()
    stored = []
    for key, jpegs in frames.items():
        header, samples = sounds[key][:HEADER], sounds[key][HEADER:]
        starts = np.linspace(0, len(samples) // 2 - RATE, FRAMES_PER_CLIP).astype(int)
        for jpeg, start in zip(jpegs[10:], starts.tolist(), strict=False):
            stored.append(Stored(jpeg, header + samples[2 * start : 2 * (start + RATE)]))
    return stored


def decode(sample: Stored) -> Decoded:
    """Decode a `sample` by simplejpeg."""
    return Decoded(simplejpeg.decode_jpeg(sample.jpeg, "RGB"), np.frombuffer(sample.wav, "<i2", offset=HEADER))


def read_batches(samples: Iterator[Decoded]) -> int:
    """Stack all `samples` to batches; returns their number."""
    count = 0
    while part := list(islice(samples, BATCH)):
        frames, sounds = np.stack([one.frame for one in part]), np.stack([one.sound for one in part])
        count += len(frames) if len(sounds) else 0
    return count


# ------------------------------------------------------------------------------------------------------ the libraries


def webdataset_batches(folder: Path, stored: list[Stored], decoder: str = "simplejpeg") -> Batches:
    """Store samples as one tar of webdataset; read it in order, shuffled in a buffer.

    Args:
        folder: for the files.
        stored: samples.
        decoder: "simplejpeg" or "PIL".
    """
    webdataset, path = WEBDATASET.load(), folder / f"webdataset_{decoder}.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for k, sample in enumerate(stored):
            writer.write({"__key__": f"{k:06d}", "jpg": sample.jpeg, "wav": sample.wav})

    def unpack(sample: dict[str, bytes]) -> Decoded:
        if decoder == "simplejpeg":
            return decode(Stored(sample["jpg"], sample["wav"]))
        from PIL import Image

        frame = np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB"))
        return Decoded(frame, np.frombuffer(sample["wav"], "<i2", offset=HEADER))

    dataset = webdataset.WebDataset(str(path), shardshuffle=False).shuffle(100).map(unpack)
    return lambda: read_batches(iter(dataset))


def litdata_batches(folder: Path, stored: list[Stored]) -> Batches:
    """Store samples as chunks of litdata; read them shuffled.

    Args:
        folder: for the files.
        stored: samples.
    """
    litdata, path = LITDATA.load(), folder / "litdata"
    writer = LITDATA.load("streaming.writer").BinaryWriter(str(path), chunk_bytes="64MB")
    for k, sample in enumerate(stored):
        writer.add_item(k, {"jpeg": sample.jpeg, "wav": sample.wav})
    writer.done()
    writer.merge(1)
    dataset = litdata.StreamingDataset(str(path), shuffle=True)
    return lambda: read_batches(decode(Stored(one["jpeg"], one["wav"])) for one in dataset)


def streaming_batches(folder: Path, stored: list[Stored]) -> Batches:
    """Store samples as MDS files of mosaicml-streaming; read them at random.

    Args:
        folder: for the files.
        stored: samples.
    """
    streaming, path = STREAMING.load(), folder / "streaming"
    with streaming.MDSWriter(out=str(path), columns={"jpeg": "bytes", "wav": "bytes"}, progress_bar=False) as writer:
        for sample in stored:
            writer.write({"jpeg": sample.jpeg, "wav": sample.wav})
    dataset = streaming.StreamingDataset(local=str(path), batch_size=BATCH)
    rng = np.random.default_rng(0)

    def samples() -> Iterator[Decoded]:
        for k in rng.permutation(len(stored)).tolist():
            one = dataset[k]
            yield decode(Stored(one["jpeg"], one["wav"]))

    return lambda: read_batches(samples())


def ffcv_batches(folder: Path, stored: list[Stored]) -> Batches:
    """Store samples in a file of FFCV, which encodes them again; read it at random, on one thread.

    Args:
        folder: for the files.
        stored: samples.
    """
    path = folder / "samples.beton"
    fields, loader, writer = FFCV.load("fields"), FFCV.load("loader"), FFCV.load("writer")
    decoders = FFCV.load("fields.rgb_image"), FFCV.load("fields.ndarray")
    kinds = {
        "frame": fields.RGBImageField(write_mode="jpg", max_resolution=SIDE, jpeg_quality=90),
        "sound": fields.NDArrayField(np.dtype("int16"), (RATE,)),
    }
    made = writer.DatasetWriter(str(path), kinds, num_workers=1)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        made.from_indexed_dataset([tuple(map(np.ascontiguousarray, decode(one))) for one in stored])
    pipelines = {"frame": [decoders[0].SimpleRGBImageDecoder()], "sound": [decoders[1].NDArrayDecoder()]}
    order = loader.OrderOption.RANDOM
    batches = loader.Loader(
        str(path), batch_size=BATCH, num_workers=1, os_cache=True, order=order, drop_last=False, pipelines=pipelines
    )
    return lambda: sum(len(frames) for frames, _ in batches)


# (library, what is added to its name, makes its batches)
READERS: list[tuple[Library, str, Callable[[Path, list[Stored]], Batches]]] = [
    (FFCV, "", ffcv_batches),
    (LITDATA, "", litdata_batches),
    (STREAMING, "", streaming_batches),
    (WEBDATASET, "", webdataset_batches),
    (WEBDATASET, ", PIL", partial(webdataset_batches, decoder="PIL")),
]


def jpeg_batches(stored: list[Stored]) -> Batches:
    """Decode the frames of `stored` samples straight into a batch, and nothing else: the limit."""
    frames = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)

    def decode_all() -> int:
        for k, sample in enumerate(stored):
            simplejpeg.decode_jpeg(sample.jpeg, "RGB", buffer=frames[k % BATCH])
        return len(stored)

    return decode_all


def shard_libraries(clips: BenchmarkClips, config: Config, rounds: int = 7) -> dict[str, Any]:
    """Benchmark samples from shards up to the batch, without transforms; baselines: others' formats, and JPEG alone.

    Ours stores whole clips, of which any second can be read; the others store samples.

    Args:
        clips: to load.
        config: of the samples.
        rounds: timed calls.

    Returns:
        {name: see `comparison`}; of `LIMIT` the ratio is below 1.
    """
    stored, batches = read_stored(clips), shard_batches(clips, config)
    folder = clips.folder / "libraries"
    folder.mkdir()
    works: dict[str, Work] = {LIMIT: jpeg_batches(stored)}
    for library, more, make in READERS:
        if library.load():
            with contextlib.redirect_stdout(io.StringIO()):
                works[f"{library.package} {library.version()}{more}"] = make(folder, stored)

    def ours() -> int:
        return sum(len(batch["frames"]) for batch in islice(batches, len(stored) // BATCH))

    for work in (ours, *works.values()):  # starts threads, compiles
        work()
    own, *others = interleave(rounds, {"ours": ours, **works})
    targets = {LIMIT: 0.9}
    return {
        name: comparison("samples/s", rate, own, target=targets.get(name, 1.0))
        for name, rate in zip(works, others, strict=True)
    }
