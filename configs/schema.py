"""Every setting, with its type, unit, default, source and the nets that read it.

The defaults are those of *Objects that Sound* (OtS, arXiv 1712.06651) where that paper states one, and of *The Sound of
Pixels* (SoP, arXiv 1804.03160) for the settings of PixelPlayer. A config file builds one `Config`; a variant changes
fields with `dataclasses.replace`; the command line overrides any field by its dotted name (`--train.lr 1e-4`).
Standard library only.
"""

from dataclasses import dataclass
from typing import Literal

from configs.eval_section import Eval
from configs.nets import (
    AVC_NETS,
    AVENET_MF,
    AVENET_OF,
    AVENETS,
    AVOLNET,
    FEATURE_NETS,
    MOMENT_NETS,
    NETS,
    ONE_FRAME,
    PIXELPLAYER,
    SOUND_ENCODER,
    TRAIN_SCRIPTS,
    NetName,
    setting,
)
from configs.train_section import Train

__all__ = [
    "NETS", "TRAIN_SCRIPTS", "Augment", "Config", "Data", "Eval", "Mix", "Model", "NetName", "Spectrogram", "Train",
]  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The dataset, and what one sample holds."""

    root: str = setting("data/AudioSet-Instruments", "dataset directory, with train/, val/ and test/")
    on_error: Literal["stop", "skip"] = setting(
        "stop", "if a clip can't be read: stop and name it, or skip it and list it in the log"
    )
    frame_size: int = setting(224, "height and width of the frames that enter the net, pixels (OtS sec. 3)")
    resize_size: int = setting(256, "height and width that frames are resized to before augmentation, pixels")
    frame_step: float = setting(
        0.04, "frames are sampled at multiples of this time, seconds; 0.04 is every frame at 25 fps"
    )
    sample_rate: int = setting(48000, "audio sample rate, Hz (OtS sec. 3)")
    seconds: float = setting(
        1.0,
        "length of the sound that belongs to a frame, which is in its middle, seconds (OtS: 1); a shorter clip is an "
        "error",
        AVC_NETS,
    )
    moments: int = setting(
        1,
        "moments of a clip, evenly spaced, that count as one: the similarity of two clips is the mean over aligned "
        "moments; in evaluation beside those of one moment (CAV-MAE Sync)",
        MOMENT_NETS,
    )
    misalignment: float = setting(
        1.0, "largest random time offset between a frame and its sound in training, seconds (OtS sec. 3.3)", AVC_NETS
    )
    cache_gb: float = setting(0.0, "memory for a cache of decoded clips, GB per GPU; 0: decode a clip each time")
    samples_per_decode: int = setting(
        1,
        "samples taken from a clip each time it is decoded, for as many consecutive batches of the same clips; an "
        "epoch gets longer by this factor",
    )
    frames: int = setting(1, "consecutive frames of a sample, 0.04 s apart (OtS: 25)", AVENET_MF)
    flow: Literal["none", "tvl1", "dis", "farneback"] = setting(
        "none", "optical flow method (OtS: tvl1); dis is much faster", AVENET_OF
    )
    flow_fields: int = setting(10, "flow fields of a sample, between frames 0.04 s apart (OtS: 10)", AVENET_OF)
    feature_views: int = setting(
        4,
        "views of a frame whose features are kept if the encoder of frames is frozen (train.lr_vision 0), so that "
        "training reads no clips: plain, mirrored, and augmented ones; 0: encode frames in each step",
        FEATURE_NETS,
    )
    feature_frames: int = setting(4, "frames of a clip, evenly spaced, whose features are kept", FEATURE_NETS)
    features_dir: str = setting(
        "",
        "directory of the kept features, DIR/SPLIT/features_...; empty: data.root, or the run's if that is read-only",
        FEATURE_NETS,
    )
    flow_dir: str = setting("", "directory of the flow cache, DIR/SPLIT/flow_...; empty: data.root", AVENET_OF)


@dataclass(frozen=True)
class Spectrogram:
    """The log spectrogram of a sound: 257 x 200 for a second by default (OtS sec. 3)."""

    window: float = setting(0.01, "length of the Hann window, seconds")
    hop: float = setting(0.005, "step between windows, seconds")
    n_fft: int = setting(512, "FFT size, samples; gives n_fft / 2 + 1 frequency bins")
    n_mels: int = setting(0, "mel bands; 0 keeps the linear frequency bins")
    equal_loudness: bool = setting(False, "scale every sound to the same RMS first")


@dataclass(frozen=True)
class Augment:
    """Random augmentation, drawn anew for each training sample; 0 turns one off."""

    crop_min: float = setting(0.875, "smallest side of the random crop, as a fraction of the frame's side")
    crop_max: float = setting(
        0.875, "largest side of the random crop, as a fraction of the frame's side; above 1 the frame is shrunk"
    )
    flip: bool = setting(True, "flip half of the frames horizontally")
    brightness: float = setting(0.2, "multiply brightness by a random factor in 1 +- this")
    saturation: float = setting(0.2, "multiply saturation by a random factor in 1 +- this")
    gain: float = setting(0.1, "multiply the sound's amplitude by a random factor in 1 +- this (L3: 0.1)")
    hue: float = setting(0.0, "rotate the hue either way by up to this fraction of 180 degrees")
    rotation: float = setting(0.0, "rotate the frame either way by up to this, degrees")
    stretch: float = setting(0.0, "change the aspect ratio by a factor of up to 1 + this")
    contrast: float = setting(0.0, "multiply contrast by a random factor in 1 +- this")
    channel_gain: float = setting(0.0, "multiply each color channel by a random factor in 1 +- this")
    grey: float = setting(0.0, "fraction of the frames converted to greyscale")
    erase: float = setting(0.0, "largest side of the erased square, as a fraction of the frame's side")
    blend: float = setting(0.0, "blend in another clip's frame with a weight of up to this")
    mix: float = setting(0.0, "mix in another clip's sound at up to this amplitude, relative to the clip's own")
    tilt: float = setting(0.0, "tilt and bend the spectrum by up to this at its ends, dB")
    noise: float = setting(0.0, "add noise of up to this power, as a fraction of the sound's mean power")
    pitch: float = setting(0.0, "scale all frequencies by a factor of up to 1 + this")
    freq_mask: float = setting(0.0, "largest height of each of two frequency masks, as a fraction of the spectrogram's")
    time_mask: float = setting(0.0, "largest width of each of two time masks, as a fraction of the spectrogram's")
    ramp: float = setting(0.0, "fraction of the run over which all augmentation grows from 0 to full strength")


@dataclass(frozen=True)
class Model:
    """The net."""

    name: NetName = setting("AVENet", "net to build and train")  # noqa: RUF009 - ruff can't resolve the alias
    width: int = setting(64, "channels of the first convolution (OtS: 64)")
    dim: int = setting(128, "dimensions of the embedding; L3Net: units of fc1 (OtS sec. 3.1: 128)")
    dropout: float = setting(0.0, "dropout rate of the pooled features (OtS: none); of PixelPlayer, in its AVC branch")
    init_from: str = setting("", "checkpoint to start from: weights are copied where names and shapes match")
    logit_scale: float = setting(
        12.0,
        "fc3 starts as logit = logit_scale (1.2 - distance); OtS sec. 3.1 sets only its sign, PyTorch's default has a "
        "scale of some 0.7",
        AVENETS,
    )
    num_channels: int = setting(
        32, "K, the channels of the sound net's output and of a frame's feature vector (SoP: 32)", PIXELPLAYER
    )
    sound_width: int = setting(64, "channels after the first level of the sound net (SoP's code: 64)", PIXELPLAYER)
    unet_depth: int = setting(7, "levels of the sound net, a U-Net; each halves rows and columns (SoP: 7)", PIXELPLAYER)
    unet_bias: bool = setting(
        False,
        "give the first and the deepest convolution of the sound net, without batch norm, a bias (SoP's code: no)",
        PIXELPLAYER,
    )
    unet_init: Literal["small", "default"] = setting(
        "small",
        "random weights of the sound net; small: normal, standard deviation 0.001 for convolutions, 0.02 around 1 for "
        "the scales of batch norm (SoP's code); default: PyTorch's",
        PIXELPLAYER,
    )
    detail: bool = setting(
        False, "feed the spectrogram to the last level of the sound net too, and add a layer there", PIXELPLAYER
    )
    vision: str = setting(
        "auto",
        "encoder of the frames; auto: that of the net's paper; convnet: eight convolutions (OtS), which learn sooner "
        "from scratch; resnet18: a dilated ResNet-18 (SoP); resnet18_v3: the ResNet-18 of config version 3 and older, "
        "dilated in one convolution more; or a net of timm, such as efficientnet_lite0, resnet50, "
        "vit_small_patch14_dinov2",
        ONE_FRAME,
    )
    vision_weights: str = setting(
        "none",
        "weights that the encoder of the frames starts from; none: random ones; imagenet: the published ones "
        "(efficientnet_lite0's are installed with the requirements, others are downloaded); or a file",
        ONE_FRAME,
    )
    vision_stride: int = setting(
        0,
        "pixels from one location of the encoder's feature map to the next: 8, 16 or 32, by dilation; 0: its own",
        ONE_FRAME,
    )
    vision_pool: Literal["auto", "max", "local"] = setting(
        "auto",
        "how AVE-Net pools the frame's feature map; max: its maximum over locations, before fc1 (OtS); local: fc1 sees "
        "each location, fc2 the maximum and a mean in which locations of strong features weigh more; auto: local with "
        "model.vision_weights, else max; of PixelPlayer, in its AVC branch, auto: max",
        ("AVENet", "PixelPlayer"),
    )
    features_from: Literal["map", "embedding"] = setting(
        "map",
        "what a frame's K features are computed from; map: the encoder's map, by a convolution that is max-pooled "
        "(SoP); embedding: the frame's embedding in the AVC branch",
        PIXELPLAYER,
    )
    mean_weight: float = setting(
        0.0,
        "weight of the mean over locations in AVOL-Net's score of a pair; the maximum has the rest (OtS: 0)",
        AVOLNET,
    )
    sound: str = setting(
        "convnet",
        "encoder of the spectrograms; convnet: eight convolutions (OtS); or a net of timm, such as efficientnet_lite0",
        SOUND_ENCODER,
    )
    sound_weights: str = setting(
        "none",
        "weights that the encoder of the spectrograms starts from, as model.vision_weights; the first layer takes the "
        "mean over the colors",
        SOUND_ENCODER,
    )

    @property
    def encoder(self) -> str:
        """The encoder of the frames, an encoder's name also where `vision` is "auto"."""
        auto = "resnet18" if self.name == "PixelPlayer" else "convnet"
        return auto if self.vision == "auto" else self.vision

    @property
    def pool(self) -> str:
        """How the frame's feature map is pooled, also where `vision_pool` is "auto"."""
        auto = "local" if self.pretrained and self.name != "PixelPlayer" else "max"
        return auto if self.vision_pool == "auto" else self.vision_pool

    @property
    def pretrained(self) -> bool:
        """Whether the encoder of the frames starts from given weights."""
        return self.vision_weights != "none"


@dataclass(frozen=True)
class Mix:
    """Mixtures of clips and their spectrograms, at data.sample_rate (SoP sec. 3 and 4.2)."""

    sources: int = setting(2, "N, the clips in a mixture; each sound is divided by N (SoP: 2)", PIXELPLAYER)
    samples: int = setting(65535, "length of a mixture, samples (SoP: 65,535, 6 s at 11,025 Hz)", PIXELPLAYER)
    n_fft: int = setting(
        1022, "length of the Hann window and FFT size, samples; gives n_fft / 2 + 1 bins (SoP: 1022)", PIXELPLAYER
    )
    hop: int = setting(256, "step between windows, samples; gives samples // hop + 1 columns (SoP: 256)", PIXELPLAYER)
    freq_bins: int = setting(
        256, "rows of the spectrogram, on a logarithmic frequency axis; 0 keeps the linear bins (SoP: 256)", PIXELPLAYER
    )
    mask: Literal["binary", "soft", "ratio"] = setting(
        "binary",
        "binary: learn where a source has more than half of the mixture's magnitude, and threshold predicted masks at "
        "0.5 (SoP); soft: learn the same, but apply the predicted probabilities; ratio: learn the source's fraction of "
        "the magnitude",
        PIXELPLAYER,
    )
    log_floor: float = setting(
        1e-10,
        "magnitude that is added before the logarithm of the sound net's input (SoP's code: 1e-10); 1e-4 is about the "
        "rounding of silence in 16 bits",
        PIXELPLAYER,
    )
    weights: Literal["log", "linear", "none"] = setting(
        "log",
        "weight of a bin in the mask loss; log: log(1 + magnitude) of the mixture (SoP); linear: its magnitude divided "
        "by the mean; both clamped to 0.001..10; none: 1",
        PIXELPLAYER,
    )
    frames: int = setting(3, "frames of a clip, whose features are max-pooled (SoP: 3)", PIXELPLAYER)
    frame_stride: float = setting(
        3.0, "time from one of these frames to the next, seconds (SoP: 24 frames at 8 fps)", PIXELPLAYER
    )
    volume: float = setting(
        0.5, "in training, multiply each clip's amplitude by a random factor in 1 +- this", PIXELPLAYER
    )
    clip: bool = setting(True, "clip the sound to -1..1 after that (SoP's code)", PIXELPLAYER)
    speed: float = setting(
        0.0, "in training, play each clip faster or slower by a random factor of up to 1 + this (SoP: 0)", PIXELPLAYER
    )
    tilt: float = setting(
        0.0, "in training, tilt and bend each clip's spectrum by up to this at its ends, dB (SoP: 0)", PIXELPLAYER
    )
    frame_fit: Literal["squeeze", "crop"] = setting(
        "crop",
        "how frames become squares of data.resize_size; crop: the shorter side decides, and the square lies anywhere "
        "along the longer side in training, in the middle in evaluation (SoP's code); squeeze: the whole frame",
        PIXELPLAYER,
    )
    repeats: int = setting(1, "passes over the training clips in an epoch (SoP: 100)", PIXELPLAYER)
    pairs: str = setting(
        "",
        "file with the clips of each validation or test mixture: JSON, [[id, id], ...], or a csv as iQuery's and "
        "DAVIS's, /flute/ID.wav, /cello/ID.wav; empty: chosen by a fixed rule",
        PIXELPLAYER,
    )
    noise_root: str = setting(
        "",
        "eval.py: another dataset, of whose split of the same name a clip is in each mixture too, and isn't asked for; "
        "only the first source is measured then (CLIPSep); empty: none (SoP)",
        PIXELPLAYER,
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: Data = Data()
    spectrogram: Spectrogram = Spectrogram()
    augment: Augment = Augment()
    mix: Mix = Mix()
    model: Model = Model()
    train: Train = Train()  # noqa: RUF009 - it is frozen
    eval: Eval = Eval()  # noqa: RUF009

    @property
    def keeps_features(self) -> bool:
        """Whether training reads features that a frozen encoder, or its first stages, have computed before."""
        frozen = self.model.pretrained and (self.train.lr_vision == 0 or self.train.tuned_stages > 0)
        return frozen and self.data.feature_views > 0 and self.model.name in FEATURE_NETS
