"""The settings of the training: the section Train of `configs.schema.Config`. Standard library only."""

from dataclasses import dataclass
from typing import Literal

from configs.nets import AVC_NETS, AVOLNET, COMPARING, ONE_FRAME, PIXELPLAYER, SOUND_ENCODER, setting


@dataclass(frozen=True)
class Train:
    """The training."""

    run_dir: str = setting("runs/AVENet", "directory of the run: config, log, checkpoints")
    epochs: int = setting(100, "passes over the training clips; the learning-rate schedule depends on it")
    max_minutes: float = setting(0.0, "train for this time instead of train.epochs, minutes; 0: off")
    batch_size: int = setting(
        128, "clips in a batch, divided evenly among the processes of torchrun (OtS: 2048, 128 on each of 16 GPUs)"
    )
    grad_accum_steps: int = setting(1, "batches whose gradients are averaged for one update")
    gather: Literal["rank", "all"] = setting(
        "rank",
        "with several processes, rank: compare a frame with the sounds of its own process (OtS); all: with those of "
        "all processes",
        AVC_NETS,
    )
    lr: float = setting(1e-4, "learning rate (OtS searched for it and doesn't state it)")
    last_layer_lr_mult: float = setting(
        20.0, "learning-rate multiplier of the last layer (fc3, conv7), which maps similarity to a logit"
    )
    last_layer_decay: bool = setting(False, "apply train.weight_decay to the last layer too (OtS: yes)", AVC_NETS)
    lr_vision: float = setting(
        0.05,
        "learning-rate multiplier of an encoder of frames with pretrained weights (SoP: 0.1), which Muon never trains; "
        "0: frozen. From scratch it learns as the rest",
        ONE_FRAME,
    )
    tuned_stages: int = setting(
        0,
        "fine-tune only this many last stages of an encoder of frames with pretrained weights; the features of its "
        "first stages are computed once (data.feature_views); 0: all stages",
        ONE_FRAME,
    )
    lr_sound: float = setting(
        1.0, "learning-rate multiplier of an encoder of spectrograms with pretrained weights; 0: frozen", SOUND_ENCODER
    )
    freeze_norm: bool = setting(
        True, "keep the batch norm statistics of encoders with pretrained weights (SoP's code: no)", ONE_FRAME
    )
    lr_vision_head: float = setting(
        1.0,
        "learning-rate multiplier of the frame net's last layer, a convolution to K maps (SoP's code: 1)",
        PIXELPLAYER,
    )
    optimizer: Literal["adam", "muon", "auto", "sgd"] = setting(
        "adam",
        "adam: for all weights (OtS sec. 3.3); muon: Muon for the convolutions, Adam for the rest; auto: adam with "
        "model.init_from, else muon; sgd: for all weights (SoP). Muon trains no encoder with pretrained weights",
    )
    momentum: float = setting(0.9, "momentum of SGD (SoP: 0.9)")
    lr_muon: float = setting(10.0, "learning-rate multiplier of the weights that Muon updates")
    schedule: Literal["step", "multistep", "cosine"] = setting(
        "step",
        "learning-rate schedule; step: x0.94 every 16 epochs (OtS sec. 3.3); multistep: x0.1 at 40% and 80% of the run "
        "(SoP); cosine: decay to 0",
    )
    warmup: float = setting(0.0, "fraction of the run in which the learning rate rises from 0")
    weight_decay: float = setting(1e-5, "L2 penalty, added to the gradient by Adam (OtS sec. 3.3) and SGD")
    ema: float = setting(0.0, "decay of the moving average of the weights, which is evaluated and saved; 0: off")
    loss: Literal["avc", "infonce", "max_infonce"] = setting(
        "avc",
        "avc: two-way cross-entropy of pairs (OtS sec. 3.1); infonce: softmax over the batch's sounds and its frames, "
        "of cosines; max_infonce: the same, of the largest cosine over a frame's locations (EZ-VSL), for AVOLNet. Of "
        "PixelPlayer, the AVC branch's",
    )
    temperature: float = setting(
        0.07,
        "divides the cosines in infonce and max_infonce, not in avc; with train.learn_temperature where it starts",
        (*COMPARING, *PIXELPLAYER),
    )
    learn_temperature: bool = setting(
        False, "learn the temperature of infonce and max_infonce, at least 0.01 (CLIP)", COMPARING
    )
    silence: float = setting(
        0.0,
        "share of the negatives whose sound is silence or noise, so that maps and scores stay low without a sound",
        AVC_NETS,
    )
    negatives: Literal["all", "one", "off_grid"] = setting(
        "all",
        "negative pairs of a batch; all: all of them, half of the loss together; one: one for each positive (OtS sec. "
        "3.3); off_grid: one, its sound cut at any time, to show the shortcut that OtS warns of",
        AVC_NETS,
    )
    aux_loss_weight: float = setting(
        0.0,
        "weight of the auxiliary heads' loss; the main head's has 1 minus this (OtS has no auxiliary heads)",
        AVOLNET,
    )
    avc_loss_weight: float = setting(
        0.0,
        "weight of the AVC branch's loss, the correspondence of frames and unmixed sounds; the mask loss has 1 "
        "minus this (SoP has no AVC branch)",
        PIXELPLAYER,
    )
    avc_warmup: float = setting(
        0.0, "fraction of the run, from its start, in which only the AVC branch is trained", PIXELPLAYER
    )
    data_dependent_init: bool = setting(True, "scale and shift the last layers on some clips before the first step")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto",
        "autocast to bf16 or fp16 (with a scaled loss), or none; auto: bf16 where the hardware has it, else fp16 on a "
        "GPU and fp32 on a CPU",
    )
    tf32: bool = setting(
        True,
        "in fp32 on NVIDIA GPUs, round what convolutions multiply to TF32, 10 bits after the point (torch's default); "
        "matrix products are never rounded",
    )
    deterministic: bool = setting(
        False, "use only kernels that give the same bits in each run, on a GPU slower ones; on a CPU all do"
    )
    compile: bool = setting(
        False, "compile the encoders with torch.compile in training: minutes at the start, fewer kernels in each step"
    )
    low_res_until: float = setting(
        0.0, "fraction of the run in which frames enter the net at train.low_res_size, which costs less; 0: none",
        AVC_NETS,
    )  # fmt: skip
    low_res_size: int = setting(64, "height and width of frames until train.low_res_until, pixels", AVC_NETS)
    seed: int = setting(0, "random seed of the weights, the order of clips and all augmentation")
    workers: int = setting(
        -1, "processes that load clips, per GPU; 0: load in the training process; -1: as many as it has cores"
    )
    validate_every: int = setting(1, "epochs between validations")
    save_every: int = setting(500, "steps between checkpoints; each validation writes one too")
    save_seconds: float = setting(60.0, "least time between these checkpoints, seconds; later saves wait for it")
    log_every: int = setting(20, "steps between lines of the log")
    log: Literal["tensorboard", "wandb", "none"] = setting(
        "tensorboard",
        "where the log's numbers go beside log.jsonl; wandb: Weights & Biases, if the package is installed (offline "
        "with WANDB_MODE=offline)",
    )

    @property
    def similarity(self) -> str:
        """How AVOL-Net compares a location with a sound: by cosine with InfoNCE, else by the paper's dot product."""
        return "dot" if self.loss == "avc" else "cosine"
