"""Every setting, with its type, unit, default and source.

The defaults are those of *Objects that Sound* (OtS, arXiv 1712.06651) wherever the paper states one, and of *The Sound
of Pixels* (SoP, arXiv 1804.03160) for what belongs to its net alone. A config file builds one `Config`; a variant
changes fields with `dataclasses.replace`; the command line overrides any field by its dotted name (`--train.lr 1e-4`).
Standard library only.
"""

from dataclasses import dataclass, field
from typing import Literal


def setting(default, doc):
    """A dataclass field with its documentation, which `--help` prints."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Data:
    """Where the clips are and what one sample is."""

    root: str = setting("data/AudioSet-Instruments", "dataset folder, holds train/, val/ and test/")
    on_error: Literal["stop", "skip"] = setting(
        "stop", "a clip that can't be read: stop with its name, or skip it, count it and list it in the log"
    )
    frame_size: int = setting(224, "height and width of the picture that the net sees, pixels (OtS sec. 3)")
    resize_size: int = setting(256, "the whole frame is resized to this square before augmentation, pixels")
    frame_step: float = setting(
        0.04, "frames are drawn from multiples of this time, seconds (0.04: every frame at 25/s)"
    )
    sample_rate: int = setting(48000, "rate of the sound that the net hears, Hz (OtS sec. 3)")
    misalignment: float = setting(
        1.0, "the sound is moved from its frame by up to this much, seconds, in training (OtS sec. 3.3)"
    )
    cache_gb: float = setting(
        0.0,
        "memory for decoded clips, GB, for each GPU: each is decoded once while it lasts; 0 decodes a clip at every "
        "visit",
    )
    samples_per_decode: int = setting(
        1,
        "samples of a clip in one opening and one pass of decoding, for as many batches of the same clips in a row; "
        "an epoch is then so many times longer",
    )
    frames: int = setting(1, "frames around the instant, 0.04 s apart, that the net sees (OtS: AVE+MF 25)")
    flow: Literal["none", "tvl1", "dis", "farneback"] = setting(
        "none", "method of the optical flow that the net sees beside its frame (OtS: AVE+OF tvl1; dis is far faster)"
    )
    flow_fields: int = setting(10, "flow fields around the instant, between frames 0.04 s apart (OtS: 10)")
    flow_dir: str = setting("", "folder where flow is kept, DIR/SPLIT/flow_...; empty: in data.root")


@dataclass(frozen=True)
class Spectrogram:
    """The log spectrogram of one second of sound: 257 x 200 by default (OtS sec. 3)."""

    window: float = setting(0.01, "length of the Hann window, seconds")
    hop: float = setting(0.005, "step between windows, seconds")
    n_fft: int = setting(512, "length of the Fourier transform; n_fft / 2 + 1 rows")
    n_mels: int = setting(0, "rows after a mel filter bank; 0 keeps the linear frequency bins")
    equal_loudness: bool = setting(False, "scale every second to the same root mean square first")


@dataclass(frozen=True)
class Augment:
    """Random changes of a training sample; each is drawn anew per sample. 0 switches a change off."""

    crop_min: float = setting(0.875, "smallest side of the random crop, as a share of the frame's")
    crop_max: float = setting(0.875, "largest side of the random crop; above 1 the frame is shrunk")
    flip: bool = setting(True, "mirror half of the frames")
    brightness: float = setting(0.2, "brightness is multiplied by 1 +- this much")
    saturation: float = setting(0.2, "saturation is multiplied by 1 +- this much")
    gain: float = setting(0.1, "amplitude of the sound is multiplied by 1 +- this much (L3: up to 10%)")
    hue: float = setting(0.0, "the colour circle is turned by up to this share of half of it, either way")
    rotation: float = setting(0.0, "the frame is turned by up to this much, degrees")
    stretch: float = setting(0.0, "the frame's aspect ratio is changed by a factor of up to 1 + this much")
    contrast: float = setting(0.0, "contrast is multiplied by 1 +- this much")
    channel_gain: float = setting(0.0, "each colour channel is multiplied by 1 +- this much")
    grey: float = setting(0.0, "share of the frames that lose their colour")
    erase: float = setting(0.0, "largest side of an erased square, as a share of the frame's")
    blend: float = setting(0.0, "another clip's frame is blended in with up to this weight")
    mix: float = setting(0.0, "another clip's sound is mixed in at up to this amplitude, relative to the clip's own")
    tilt: float = setting(0.0, "the spectrum is tilted and bent by up to this much, dB at its ends")
    noise: float = setting(0.0, "a noise floor is added up to this level, as a share of the sound's mean power")
    pitch: float = setting(0.0, "frequencies are scaled by a factor of up to 1 + this much")
    freq_mask: float = setting(0.0, "largest share of the rows in each of two masks over the spectrogram")
    time_mask: float = setting(0.0, "largest share of the columns in each of two masks over the spectrogram")
    ramp: float = setting(0.0, "share of the run in which all of this grows from nothing to its full strength")


@dataclass(frozen=True)
class Model:
    """Which net."""

    name: str = setting("AVENet", "class of the net, a key of models.MODELS")
    width: int = setting(64, "channels of the first convolution; 64 is the paper's")
    dim: int = setting(128, "dimensions of the embedding (OtS sec. 3.1)")
    dropout: float = setting(0.0, "share of the pooled features dropped in training; the paper uses none")
    init_from: str = setting("", "checkpoint whose weights are taken where names and shapes match")
    num_channels: int = setting(32, "PixelPlayer: maps of the sound net, and features of a pixel, K (SoP: 32)")
    sound_width: int = setting(64, "PixelPlayer: maps after the sound net's first level; 64 is the paper's code's")
    unet_depth: int = setting(7, "PixelPlayer: times that the sound net halves rows and columns (SoP: 7)")
    detail: bool = setting(
        False, "PixelPlayer: the sound net's last level sees the spectrogram itself too, and has one more layer"
    )
    vision: Literal["resnet18", "convnet"] = setting(
        "resnet18", "PixelPlayer: dilated ResNet-18 (SoP); convnet: the eight convolutions of AVE-Net's vision, which "
        "learn sooner from scratch",
    )  # fmt: skip
    vision_weights: str = setting(
        "", "PixelPlayer: ImageNet's weights for the frame net: imagenet (downloaded, 45 MB) or a file; empty: from "
        "scratch",
    )  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """Mixtures of clips, and how the sound net sees them (SoP sec. 3 and 4.2). Their rate is data.sample_rate."""

    sources: int = setting(2, "clips in a mixture, N; each is divided by N")
    samples: int = setting(65535, "length of a mixture, samples (SoP: 65,535 at 11,025 Hz, 6 s)")
    n_fft: int = setting(1022, "length of the Hann window and of the Fourier transform; n_fft / 2 + 1 bins (SoP: 1022)")
    hop: int = setting(256, "step between windows, samples; samples // hop + 1 columns (SoP: 256)")
    freq_bins: int = setting(
        256, "rows of the spectrogram, spaced by the logarithm of the frequency; 0: one a bin (SoP: 256)"
    )
    mask: Literal["binary", "soft", "ratio"] = setting(
        "binary",
        "binary: whether a source has most of a place; soft: the same, but sounds are made by the probability itself, "
        "not cut at 0.5; ratio: the source's share",
    )
    weights: Literal["log", "linear", "none"] = setting(
        "log",
        "how much a place of the mask counts: log(1 + magnitude) of the mixture, 0.001 to 10 (SoP); its magnitude over "
        "the mixture's mean, 0.001 to 10; or all alike",
    )
    frames: int = setting(3, "frames of a clip, whose features are pooled (SoP: 3)")
    frame_stride: float = setting(3.0, "from one of them to the next, seconds (SoP: 24 frames at 8/s)")
    volume: float = setting(0.5, "in training each clip's amplitude is multiplied by 1 +- this much")
    repeats: int = setting(1, "passes over the training clips that count as one epoch (SoP: 100)")
    pairs: str = setting(
        "", "JSON file with the clips of each validation or test mixture, [[id, id], ...]; empty: drawn by a fixed rule"
    )


@dataclass(frozen=True)
class Train:
    """How it is trained."""

    run_dir: str = setting("runs/AVENet", "everything that the run writes lies here")
    epochs: int = setting(100, "passes over the training clips; the schedule follows it")
    max_minutes: float = setting(0.0, "length of the run by the clock instead of epochs; 0 follows epochs")
    batch_size: int = setting(
        128, "clips a batch, shared out evenly among the processes of torchrun (OtS: 2048, 128 on each of 16 GPUs)"
    )
    grad_accum_steps: int = setting(1, "batches whose gradients are averaged for one update")
    gather: Literal["rank", "all"] = setting(
        "rank",
        "whose sounds a frame is compared with, of several processes: its own process's share of the batch, as on each "
        "of the paper's GPUs, or the whole batch, whatever the number of processes",
    )
    lr: float = setting(1e-4, "learning rate; the paper searched for it and doesn't state it")
    last_layer_lr_mult: float = setting(
        20.0, "the last layer, which turns likeness into a logit, learns so much faster"
    )
    lr_vision: float = setting(1.0, "PixelPlayer: the frame net learns this many times as fast as the rest (SoP: 0.1)")
    optimizer: Literal["adam", "muon", "auto", "sgd"] = setting(
        "adam",
        "adam for all weights (OtS sec. 3.3); muon for the convolutions, adam for the rest (utils/muon.py); auto: muon "
        "from scratch, adam from another net's weights (model.init_from), which Muon's steps would undo; sgd (SoP)",
    )
    momentum: float = setting(0.9, "of sgd (SoP: 0.9)")
    lr_muon: float = setting(10.0, "with muon: the convolutions learn this many times faster")
    schedule: Literal["step", "multistep", "cosine"] = setting(
        "step",
        "step: x0.94 every 16 epochs (OtS sec. 3.3); multistep: x0.1 at 40% and 80% of the run (SoP); cosine: to 0",
    )
    warmup: float = setting(0.0, "share of the run in which the learning rate rises from 0")
    weight_decay: float = setting(1e-5, "L2 penalty added to the gradient by Adam (OtS sec. 3.3) and sgd")
    ema: float = setting(0.0, "decay of the average of the weights that is evaluated and kept; 0 keeps none")
    negatives: Literal["all", "one", "off_grid"] = setting(
        "all",
        "mismatched pairs of a batch: all, weighted to count half; one for each match (OtS sec. 3.3); off_grid: one, "
        "its sound cut at any time, the shortcut that the paper warns of, to show it",
    )
    aux_loss_weight: float = setting(
        0.0, "weight of the loss of the two auxiliary heads, which pool the frame's features before they compare them; "
        "the main head's is 1 minus it (0 as in OtS)",
    )  # fmt: skip
    avc_loss_weight: float = setting(
        0.0, "weight of the loss of the AVC branch, an AVE-Net that shares the convolutions of the frames; that of the "
        "masks is 1 minus it (0 as in SoP)",
    )  # fmt: skip
    avc_warmup: float = setting(0.0, "fraction of the run, from its start, in which the AVC branch trains alone")
    data_dependent_init: bool = setting(True, "scale and shift the last layers on 128 clips before the first step")
    precision: Literal["auto", "bf16", "fp32"] = setting("auto", "auto: bf16 autocast where the hardware has it")
    seed: int = setting(0, "seed of the weights, the order, the crops: everything random")
    workers: int = setting(4, "processes that load clips, for each GPU; 0 loads in the training process")
    validate_every: int = setting(1, "epochs between validations")
    save_every: int = setting(500, "steps between checkpoints; one is written at each validation too")
    log_every: int = setting(20, "steps between lines of the log")


@dataclass(frozen=True)
class Eval:
    """How it is measured."""

    ontology: str = setting(
        "", "AudioSet's ontology.json; empty: data/data_infos/ontology.json, else the demo's classes"
    )
    batch_size: int = setting(64, "clips a forward pass")
    flip_tta: bool = setting(False, "embed a frame together with its mirror image and take the mean; the paper doesn't")
    k: int = setting(30, "nDCG@k looks at the first k retrieved clips (OtS sec. 4.2)")
    gain: Literal["exponential", "linear"] = setting("exponential", "relevance r counts 2^r - 1, or r")
    whole_ranking: bool = setting(
        True, "rank the whole collection, for median rank and mAP; without, nDCG and recall in half of the time"
    )
    queries: int = setting(
        0, "retrieval: only so many clips, drawn once and for all, are queries, for collections of a million; 0: every "
        "clip (OtS)",
    )  # fmt: skip
    group: int = setting(256, "AVC accuracy is over all pairs within fixed random groups of this many clips, at most")


@dataclass(frozen=True)
class Config:
    """One run."""

    data: Data = Data()
    spectrogram: Spectrogram = Spectrogram()
    augment: Augment = Augment()
    mix: Mix = Mix()
    model: Model = Model()
    train: Train = Train()
    eval: Eval = Eval()
