"""What `models.load` gives: a trained net for pictures and sounds of any size, type and rate.

Each kind of net has the methods for what it can do, and no others. They are built on `evaluation.trained_net`, which
the scripts use, so that a file has the same embedding here and in embed.py.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dataset.making.text import count_text
from dataset.reading.audio import resample, to_int16
from dataset.reading.suffixes import media_kind
from dataset.reading.wav import write_wav
from evaluation.net_inputs import Waves, as_paths, batches, check_rate, cut_sounds, list_waves, open_wave
from evaluation.picture_inputs import Pictures, list_pictures, open_picture, to_squares
from evaluation.pixel_separator import PixelSeparator, choose_locations
from evaluation.separation_clip import HeldClip, SoundingClip, open_video
from evaluation.trained_net import TrainedNet, load_trained_net
from models.interfaces import EmbeddingNet, LocalizingNet, SeparatingNet
from utils.errors import UserError, first_line

Location = tuple[float, float]
MAX_SOURCES = 64  # clusters of pixels, as of separate.py


class LoadedNet:
    """A trained net.

    Args:
        net: with the evaluated weights.

    Attributes:
        net: the net as the scripts use it; `net.model` is the `torch.nn.Module`, `net.config` its settings. In fp32 its
            batch norms are folded: to train it further, take `evaluation.trained_net.load_trained_net`.
    """

    methods: tuple[str, ...] = ()

    def __init__(self, net: TrainedNet) -> None:
        self.net = net

    def __repr__(self) -> str:
        return f"{self.net.config.model.name} of {self.net.path}: {', '.join(self.methods)}"

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.net.device

    def to(self, *target: Any, **options: Any) -> Self:
        """Move the net, as `torch.nn.Module.to`: `.to("cuda")`, `.to(torch.float64)`. Results stay on the CPU.

        Args:
            target, options: as of torch.

        Returns:
            this net.

        Raises:
            UserError: torch has no such device, or the type is neither float32 nor float64.
        """
        given = [*target, *options.values()]
        types = [one.dtype if isinstance(one, Tensor) else one for one in given]
        if other := [
            one for one in types if isinstance(one, torch.dtype) and one not in (torch.float32, torch.float64)
        ]:
            raise UserError(
                f"a net can't be moved to {other[0]}: take torch.float32 or torch.float64, or for half precision "
                'models.load(PATH, {"train.precision": "bf16"})'
            )
        if any(str(one).startswith("meta") for one in given):
            raise UserError("a net can't be moved to the device meta, which holds no values: take cpu or cuda")
        try:
            self.net.model.to(*target, **options)
        except (RuntimeError, TypeError, AssertionError) as error:  # AssertionError: a torch without CUDA
            raise UserError(f"the net can't be moved to {given}: {first_line(error)}") from None
        return self


class SoundNet(LoadedNet):
    """A net that embeds sounds; its frames need optical flow, which a single picture lacks (AVE+OF)."""

    methods: tuple[str, ...] = ("embed_sounds",)

    def embed_sounds(
        self, waves: Waves, rate: float | None = None, time: float | None = None, pad: bool = False
    ) -> Tensor:
        """Embed sounds.

        Args:
            waves: one sound or N: paths of sound or video files; arrays or tensors (samples,), float in -1..1 or int16,
                a list of them, also of different lengths, or (N, samples).
            rate: sample rate of arrays, Hz; files have their own.
            time: the net takes a part of each sound, of data.seconds (1 s): the part around this time, seconds; None:
                the part in the middle.
            pad: add silence to a sound that is shorter, in place of an error.

        Returns:
            (N, D) float32 unit vectors on the CPU, as embed.py writes them.

        Raises:
            UserError: a sound can't be read, has no rate, is too short, or holds NaN.
        """
        parts = [self.net.sound_vectors(part) for part in self._embed_sounds(list_waves(waves), rate, time, pad)]
        return torch.cat(parts)

    def _embed_sounds(self, items: list[Any], rate: float | None, time: float | None, pad: bool) -> list[Tensor]:
        """Embed sounds as the net compares them, in batches: (B, ...) each."""
        check_rate(rate)
        data, size = self.net.config.data, self.net.config.eval.batch_size
        return [
            self.net.embed_sounds(cut_sounds(part, rate, data.sample_rate, data.seconds, time, pad))
            for part in batches(items, size)
        ]


class PairNet(SoundNet):
    """A net that embeds pictures and sounds and scores pairs of them (AVE-Net, AVE+MF, L3-Net)."""

    methods: tuple[str, ...] = ("embed_frames", "embed_sounds", "correspondence")

    def embed_frames(self, pictures: Pictures) -> Tensor:
        """Embed pictures. Of AVE-Net's the dot product with a sound's embedding says how well they go together.

        Args:
            pictures: one picture or N: paths of image files; images of Pillow; arrays or tensors (H, W, 3) or
                (3, H, W), uint8 or float in 0..1; a list of them, also of different sizes, or (N, H, W, 3). For AVE+MF,
                (N, T, H, W, 3), or a list of N lists of T pictures.

        Returns:
            (N, D) float32 unit vectors on the CPU, as embed.py writes them.

        Raises:
            UserError: there is no picture, one can't be read, or holds NaN.
        """
        return torch.cat([self.net.frame_vectors(v) for v, _, _ in self._embed_frames(pictures)])

    def correspondence(
        self, pictures: Pictures, waves: Waves, rate: float | None = None, time: float | None = None, pad: bool = False
    ) -> Tensor:
        """Compute the probability that each picture and each sound belong together.

        Args:
            pictures: N, as of `embed_frames`.
            waves: M, as of `embed_sounds`.
            rate, time, pad: as of `embed_sounds`.

        Returns:
            (N, M) float32 in 0..1, on the CPU.

        Raises:
            UserError: as `embed_frames` and `embed_sounds`.
        """
        a = torch.cat(self._embed_sounds(list_waves(waves), rate, time, pad))
        return torch.cat([self.net.correspondence(v, a) for v, _, _ in self._embed_frames(pictures)])

    def _embed_frames(self, pictures: Pictures) -> list[tuple[Tensor, Tensor | None, list[tuple[int, int]]]]:
        """Embed pictures as the net compares them, in batches: (B, ...) each, object maps, and (height, width)."""
        data, size = self.net.config.data, self.net.config.eval.batch_size
        found = []
        for part in batches(list_pictures(pictures, data.frames), size):
            squares, sizes = to_squares(part, data.resize_size)
            found.append((*self.net.embed_with_objects(squares), sizes))
        return found


class MapNet(PairNet):
    """A net that also says where in a picture a sound comes from (AVOL-Net)."""

    methods: tuple[str, ...] = ("embed_frames", "embed_sounds", "correspondence", "localize")

    def localize(
        self, pictures: Pictures, waves: Waves, rate: float | None = None, time: float | None = None, pad: bool = False
    ) -> list[Tensor]:
        """Compute where in each picture its sound comes from (OtS sec. 5).

        Args:
            pictures: N, as of `embed_frames`.
            waves: N, as of `embed_sounds`: the k-th belongs to the k-th picture.
            rate, time, pad: as of `embed_sounds`.

        Returns:
            N maps (H, W) float32 in 0..1 on the CPU, each of its picture's height and width: the probability that the
            sound comes from there, interpolated between the net's locations.

        Raises:
            UserError: as `embed_frames` and `embed_sounds`; or there are more of the ones than of the others.
        """
        shown, heard = list_pictures(pictures, self.net.config.data.frames), list_waves(waves)
        if len(shown) != len(heard):
            counts = f"{count_text(len(shown), 'picture')} and {count_text(len(heard), 'wave')}"
            raise UserError(f"there are {counts}: give one sound for each")
        embedded, sounds = self._embed_frames(shown), self._embed_sounds(heard, rate, time, pad)
        maps: list[Tensor] = []
        for (v, objects, sizes), a in zip(embedded, sounds, strict=True):
            found = self.net.location_maps(v, a, objects)
            for values, size in zip(found, sizes, strict=True):
                large = F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
                maps.append(torch.sigmoid(large) if objects is None else large)
        return maps


class Separation(NamedTuple):
    """The sounds of some places in a picture.

    Attributes:
        sounds: (N, samples) float32 in -1..1 on the CPU, each as long as the whole sound.
        rate: Hz: that of the whole sound.
        at: N (x, y) in 0..1 from the top left corner.
    """

    sounds: Tensor
    rate: int
    at: list[Location]


class SeparationNet(LoadedNet):
    """A net that separates a sound by what is seen (PixelPlayer)."""

    methods: tuple[str, ...] = ("separate",)

    def separate(
        self,
        pictures: Pictures,
        wave: Any = None,
        rate: float | None = None,
        at: Sequence[Location] | Location | None = None,
        sources: int | None = None,
    ) -> Separation:
        """Separate a sound by the places in a video or picture that it comes from (SoP fig. 5).

        Args:
            pictures: the path of a video; or one picture or several, as `PairNet.embed_frames` takes them: the sound is
                divided evenly among them. In memory a sound of any length is separated in segments.
            wave: the sound: a path, or an array or tensor (samples,), float in -1..1 or int16; None: the video's own.
            rate: sample rate of an array, Hz.
            at: places, N (x, y) in 0..1 from the top left corner; None: the loudest place of each of `sources` clusters
                of pixels that sound alike.
            sources: number of clusters; None: as many as in the net's mixtures.

        Returns:
            a `Separation`, whose sounds have the rate and the length of the whole sound. What lies above half of the
            net's own rate is in none of them.

        Raises:
            UserError: something can't be read, has no rate, or holds NaN; a place lies outside the picture; the sound
                is silent; or no place has a sound.
        """
        places = _check_places(at)
        check_rate(rate)
        if sources is not None and not (_is_whole(sources) and 1 <= sources <= MAX_SOURCES):
            raise UserError(f"sources is {sources!r}, but must be a whole number from 1 to {MAX_SOURCES}")
        if sources is not None and places:
            raise UserError("at gives the places, and sources asks to find some: leave out one of the two")
        pictures = as_paths(pictures, "pictures")
        if isinstance(pictures, str | Path) and media_kind(Path(pictures)) != "image":
            with tempfile.TemporaryDirectory() as folder:
                sound = _sound_file(wave, rate, Path(folder))
                with open_video(Path(pictures), sound, Path(folder)) as clip:
                    return self._separate(clip, places, sources)
        if wave is None:
            raise UserError("wave is missing: pictures need a sound, an array with its rate or a path")
        images: list[Image.Image] = [open_picture(picture) for picture in list_pictures(pictures)]
        samples, native = open_wave(wave, rate)
        _refuse_silence(samples)
        return self._separate(HeldClip(images, samples, native), places, sources)

    def _separate(self, clip: SoundingClip, places: list[Location], sources: int | None) -> Separation:
        separator = PixelSeparator(self.net, clip)
        if not places:
            pixels = separator.analyze_pixels(int(sources or self.net.config.mix.sources))
            places = choose_locations(pixels, self.net.path, "the video")
        sounds = np.concatenate(list(separator.separate(places)))[:, 1:].T  # (N, samples at the net's rate)
        rate = clip.native_rate
        resampled = np.stack([resample(sound, separator.rate, rate)[: clip.native_samples] for sound in sounds])
        return Separation(torch.from_numpy(resampled), rate, places)


def _check_places(at: Sequence[Location] | Location | None) -> list[Location]:
    if at is None:
        return []
    try:
        values = np.asarray(at)
    except (TypeError, ValueError, RuntimeError):  # lists of different lengths; tensors of another device
        values = np.empty(0)
    is_form = values.dtype.kind in "fiu" and values.shape[-1:] == (2,) and values.ndim <= 2 and values.size
    if not is_form or not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"at is {at!r}, but must be one or more (x, y) in 0..1 from the top left corner")
    return [(x, y) for x, y in values.reshape(-1, 2).astype(float).tolist()]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _refuse_silence(samples: np.ndarray) -> None:
    if not to_int16(samples).any():
        raise UserError("the sound is silent from start to end: there is nothing to separate")


def _sound_file(wave: Any, rate: float | None, folder: Path) -> Path | None:
    """The file of a sound; an array is written to one."""
    wave = as_paths(wave, "a sound")
    if wave is None or isinstance(wave, str | Path):
        return None if wave is None else Path(wave)
    samples, native = open_wave(wave, rate)
    if len(samples) < native:
        raise UserError(f"the sound lasts {len(samples) / native:.2f} s: beside a video give at least 1 s")
    _refuse_silence(samples)
    write_wav(folder / "given.wav", to_int16(samples), native)
    return folder / "given.wav"


def load_net(source: str | Path, changes: Mapping[str, Any] | None = None) -> LoadedNet:
    """Load a trained net; `models.load` is this function.

    Args:
        source: best.pt or last.pt of a run, the run's folder, a folder of export.py, or
            "https://HOST/best.pt#sha256=HASH", which is downloaded once.
        changes: {dotted name of a setting: value} that override the run's settings, as {"train.precision": "fp32"}.

    Returns:
        a `PairNet`, `MapNet`, `SeparationNet` or `SoundNet`, on the GPU if there is one.

    Raises:
        UserError: there is no such net, or it can't be used.
    """
    if not isinstance(changes, Mapping | None) or not all(isinstance(name, str) for name in changes or {}):
        raise UserError(
            f"changes is {changes!r}, but must be a dict of settings by name: {{'train.precision': 'fp32'}}"
        )
    net = load_trained_net(source, dict(changes or {}))
    if isinstance(net.model, SeparatingNet):
        return SeparationNet(net)
    net = net.folded()
    if isinstance(net.model, LocalizingNet):
        return MapNet(net)
    if isinstance(net.model, EmbeddingNet) and net.config.data.flow == "none":
        return PairNet(net)
    return SoundNet(net)
