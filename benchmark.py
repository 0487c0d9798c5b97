"""How fast the data path, the step and the measures are, each beside a plain way of doing the same.

    python benchmark.py
    python benchmark.py --json benchmark.json --only loader_mp4 embed

Both ways run in turn in this process, on one thread each, on clips that are made for it (10 s, 640 x 360, H.264, a key
frame every 8 s). Compared are the medians of the processor's time, which other work on the machine disturbs less than
the clock's; of the clock's time where a GPU or two processes share the work.
"""

import argparse
import copy
import math
import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # before numpy

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from configs.schema import Config
from dataset.baseline_loaders import make_clips, normalised, opencv_frame, read_npz, scipy_spectrogram, write_npz
from dataset.loading.loader import make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips
from dataset.reading.shards import ShardedClips
from dataset.transforms.frames import PairTransform
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import DIRECTIONS, four_directions
from evaluation.measures.separation import bss_eval
from evaluation.tasks.embeddings import embed_batches
from models.avenet import AVENet
from models.losses import avc_loss
from utils.engine import autocast, channels_last, pick_device
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json
from utils.memory import disable_malloc_trim
from utils.optimizers import build_optimizers

CLIPS = 40
VISIT = 16  # samples of a clip in one pass
CONFIG = Config()  # the paper's: 224 px of 256, 48 kHz, 257 x 200


def cpu_seconds():
    """Seconds that the processor has worked for this process and for those that it has waited for."""
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited_for.ru_utime + waited_for.ru_stime


def in_turn(rounds, clock=None, settled=False, **ways):
    """Median rates of several ways of doing the same, run one after the other, `rounds` times.

    Args:
        clock: callable that tells the seconds; by default the processor's, with a GPU the wall's.
        settled: run all but `plain` once more before each time that counts. After `plain` all memory is back at the
            system, and is fetched anew by the next to run: in a training, by its first step alone.
        ways: callables that do it and return how many items that were.

    Returns:
        list of floats, items a second, in the order of the ways.
    """
    clock = clock or (time.perf_counter if torch.cuda.is_available() else cpu_seconds)
    rates = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            disable_malloc_trim(name != "plain")
            if settled and name != "plain":
                way()
            begin = clock()
            count = way()
            rates[name].append(count / (clock() - begin))
    return [statistics.median(found) for found in rates.values()]


def row(unit, plain, ours, **more):
    """What a row of the table holds; `plain` and `ours` are items a second."""
    return {"ratio": ours / plain, "unit": unit, "plain": plain, "ours": ours, **more}


# ----------------------------------------------------------------------------------------------------------- clips


@cache
def folder():
    """The dataset of this run; the whole temporary folder is removed at the end."""
    return make_clips(temporary() / "clips", CLIPS)


@cache
def temporary():
    return Path(tempfile.mkdtemp(prefix="benchmark_"))


# ------------------------------------------------------------------------------------------------------ plain ways


def python_ndcg(v, a, labels, classes, k):
    """Mean nDCG@k of each of the four directions, in plain loops over lists: {direction: float}."""
    names = sorted({name for one in labels for name in one})
    place = {name: n for n, name in enumerate(names)}
    relevance, sides, out = classes.relevance(names).tolist(), {"im": v.tolist(), "aud": a.tolist()}, {}
    for direction in DIRECTIONS:
        query, _, collection = direction.partition("-")
        total = 0.0
        for i, x in enumerate(sides[query]):
            found = []
            for j, y in enumerate(sides[collection]):
                if query != collection or i != j:
                    distance = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
                    best = max(relevance[place[one]][place[other]] for one in labels[i] for other in labels[j])
                    found.append((distance, 2.0**best - 1))
            gained = [gain for _, gain in sorted(found)]
            ideal = sorted(gained, reverse=True)
            dcg, idcg = (sum(g / math.log2(n + 2) for n, g in enumerate(gains[:k])) for gains in (gained, ideal))
            total += dcg / idcg if idcg else 0.0
        out[direction] = total / len(v)
    return out


# ------------------------------------------------------------------------------------------------------------ rows


def loader_mp4(clips=10, rounds=3):
    """Samples with all work on them from ordinary mp4: several a pass, against a frame that OpenCV seeks."""
    root, rng = folder(), np.random.default_rng(0)
    see = PairTransform(CONFIG, train=True)

    def plain():
        for k in range(clips):
            normalised(opencv_frame(root / "train" / "video" / f"clip{k:02d}.mp4", rng))
            scipy_spectrogram(root / "train" / "audio" / f"clip{k:02d}.wav", rng)
        return clips

    order = EpochBatchSampler(CLIPS, clips, 0, samples_per_decode=VISIT)
    batches = iter(make_loader(pairs_of(Clips(root, "train")), order, 0))

    def ours():
        return sum(len(see(batch)[0]) for batch in islice(batches, VISIT))

    def decoding():  # what remains if all else were free
        for k in range(clips):
            with av.open(str(root / "train" / "video" / f"clip{k:02d}.mp4")) as video:
                video.streams.video[0].codec_context.thread_count = 1
                for _ in video.decode(video=0):
                    pass
        return clips * VISIT

    plain, ours, limit = in_turn(rounds, plain=plain, ours=ours, limit=decoding)
    return row("samples/s", plain, ours, limit=limit, limited_by="decoding", samples_per_decode=VISIT)


def pairs_of(clips):
    """The paper's samples of a split."""
    data = CONFIG.data
    return PairDataset(clips, data.resize_size, data.sample_rate, data.frame_step, data.misalignment)


def build(target):
    """Make shards of the folder on one core; returns the number of clips."""
    script = Path(__file__).parent / "data/build_shards.py"
    command = [sys.executable, str(script), str(folder()), str(target), "--workers", "1", "--square"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=one_core)
    if done.returncode:
        raise UserError(f"data/build_shards.py failed: {done.stderr.strip()[-300:]}")
    return CLIPS


def one_core():
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


@cache
def shards():
    """The clips of this run's shards."""
    build(temporary() / "shards")
    return ShardedClips(temporary() / "shards", "train")


@cache
def npz():
    """Paths of compressed npz files of ten clips."""
    target = temporary() / "npz"
    target.mkdir()
    return [write_npz(folder(), target, f"clip{k:02d}", np.random.default_rng(k)) for k in range(10)]


def from_npz(rng=np.random.default_rng(0)):  # noqa: B008 - one sequence for all calls
    for path in npz():
        read_npz(path, rng)
    return len(npz())


def loader_shards_worker(rounds=5):
    """What a loader process does: uint8 frames and int16 sounds from shards, against compressed npz."""
    batches = iter(make_loader(pairs_of(shards()), EpochBatchSampler(CLIPS, CLIPS, 0), 0))
    plain, ours, limit = in_turn(rounds, plain=from_npz, ours=lambda: len(next(batches)["frames"]), limit=decode_jpegs)
    return row("samples/s", plain, ours, limit=limit, limited_by="JPEG")


def loader_shards_full(rounds=5):
    """The same with all work on a sample on the same core."""
    batches, see = (
        iter(make_loader(pairs_of(shards()), EpochBatchSampler(CLIPS, CLIPS, 0), 0)),
        PairTransform(CONFIG, train=True),
    )
    plain, ours = in_turn(rounds, settled=True, plain=from_npz, ours=lambda: len(see(next(batches))[0]))
    return row("samples/s", plain, ours)


def loader_processes(batches=50, rounds=3):
    """Shards through one loader process, against PyTorch's own way: a sample at a time, stacked by its collate.

    What counts is the time of both processes together.
    """
    pairs = pairs_of(shards())
    order = list(islice(EpochBatchSampler(CLIPS, CLIPS, 0), batches))

    class Samples(torch.utils.data.Dataset):
        def __getitem__(self, key):
            sample = pairs[key]
            return {name: np.require(sample[name], requirements="W") for name in ("frame", "sound")} | {"seed": sample["seed"]}

    def plain():
        return read(torch.utils.data.DataLoader(Samples(), batch_sampler=order, num_workers=1), "frame")

    plain, ours = in_turn(rounds, plain=plain, ours=lambda: read(make_loader(pairs, order, 1), "frames"))
    return row("samples/s", plain, ours)


def read(batches, name):
    """Touch all of the batches, as a net would, and end their process; the number of samples."""
    count = sum(len(batch[name]) for batch in batches if batch[name].sum() > 0)
    del batches
    return count


def train_step(batch=64, rounds=2):
    """Forward, backward and update of AVE-Net: pairs from the batch as the engine does it, against a pass per pair.

    A batch of B clips gives B matches and counts for as many mismatches, the paper's ratio, though all are used.
    """
    device = pick_device()
    torch.manual_seed(0)
    frames, sounds = torch.randn(batch, 224, 224, 3), torch.randn(batch, 1, 257, 200)
    frames, sounds = frames.to(device).permute(0, 3, 1, 2), sounds.to(device)  # channels last, as from a `Transform`
    contiguous, answers = frames.contiguous(), (torch.arange(batch, device=device) % 2).float()
    simple, net = AVENet().to(device).train(), channels_last(AVENet().to(device).train())
    adam = torch.optim.Adam(simple.parameters(), 1e-4)
    optimizers = build_optimizers(CONFIG, net.parameter_groups(CONFIG.train.last_layer_lr_mult), device)

    def plain():
        v, a = simple.embed_frames(contiguous), simple.embed_sounds(sounds)
        logits = simple.pair_logits(v, a).diagonal()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, answers).backward()
        adam.step()
        adam.zero_grad()
        finish(device)
        return batch

    def ours():
        with autocast(device, CONFIG.train.precision):
            loss, _ = avc_loss(net(frames, sounds)[2])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        finish(device)
        return 2 * batch

    plain, ours = in_turn(rounds, settled=True, plain=plain, ours=ours)
    work = work_of(lambda: net(frames[:2], sounds[:2])[2].sum().backward()) / 4  # two clips count for four pairs
    return row("pairs/s", plain, ours, ratio_without_in_batch_pairs=ours / plain / 2, limit=limit_of_products(work))


def finish(device):
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def work_of(call):
    """GFLOP of the convolutions and matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def limit_of_products(work):
    """The rate at `work` GFLOP an item if all else were free: as fast as a large matrix product in bf16."""
    return limits()["matmul_bf16_gflops"] / work


def embed_clips(count=64, singles=8, rounds=3):
    """Embedding clips for evaluation: batches in bf16, against one after the other in fp32."""
    device = pick_device()
    torch.manual_seed(0)
    frames, sounds = torch.randn(count, 3, 224, 224).to(device), torch.randn(count, 1, 257, 200).to(device)
    frames *= torch.rand(count, 3, 1, 1, device=device)  # clips that differ
    net = AVENet().to(device)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of the clips alone, as after a training
    net.data_dependent_init(frames, sounds)  # embeddings that differ
    simple, net, found = net.eval(), channels_last(copy.deepcopy(net).eval()), {}
    batch = {"frames": frames.contiguous(memory_format=torch.channels_last), "sounds": sounds}
    batch |= {"indices": torch.arange(count), "times": torch.zeros(count)}

    @torch.no_grad()
    def plain():
        found["plain"] = [
            torch.cat([one(x[k : k + 1]) for k in range(singles)]).cpu()
            for one, x in ((simple.embed_frames, frames), (simple.embed_sounds, sounds))
        ]
        return singles

    def ours():
        found["ours"] = embed_batches(net, [batch], lambda batch: (batch["frames"], batch["sounds"]))[:2]
        return count

    plain, ours = in_turn(rounds, settled=True, plain=plain, ours=ours)
    work = work_of(lambda: (simple.embed_frames(frames[:1]), simple.embed_sounds(sounds[:1])))
    cosine = min((p * o[:singles]).sum(1).min().item() for p, o in zip(found["plain"], found["ours"], strict=True))
    others = max((p @ p.T - 2 * torch.eye(singles)).max().item() for p in found["plain"])
    more = {"cosine": cosine, "cosine_of_different_clips": others}
    return row("clips/s", plain, ours, limit=limit_of_products(work), **more)


def ndcg_4300(count=4300, few=100, rounds=3):
    """nDCG@30 in four directions, against loops on few clips, times the square of the rest.

    Sorting grows faster than the square, so the loops are flattered. Ours has recall as well.
    """
    rng, classes = np.random.default_rng(0), load_ontology()
    names = sorted(classes.names)
    labels = [[str(name) for name in rng.choice(names, rng.integers(1, 5), replace=False)] for _ in range(count)]
    v, a = rng.normal(size=(2, count, 128)).astype(np.float32)

    def plain():
        python_ndcg(v[:few], a[:few], labels[:few], classes, 30)
        return (few / count) ** 2

    def ours():
        four_directions(v, a, labels, classes, 30, whole=False)
        return 1

    plain, ours = in_turn(rounds, plain=plain, ours=ours)
    return row("evaluations/s", plain, ours, measured_on=few)


def separation(rounds=5, seconds=6, rate=11025):
    """SDR, SIR and SAR of a pair, of an estimate and of the mixture (SoP: 6 s at 11,025 Hz), against mir_eval's."""
    from mir_eval.separation import bss_eval_sources  # of the tests only, and slow to import

    truths = 0.1 * np.random.default_rng(0).standard_normal((2, seconds * rate))
    estimates = np.stack([truths + 0.1 * truths[::-1] + 0.1 * np.roll(truths, rate, 1), np.stack([truths.sum(0)] * 2)])
    found = {}

    def plain():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mir_eval announces that this will move
            found["plain"] = [bss_eval_sources(truths, one, compute_permutation=False)[:3] for one in estimates]
        return 1

    def ours():
        found["ours"] = np.stack(bss_eval(truths, estimates), 1)
        return 1

    plain, ours = in_turn(rounds, plain=plain, ours=ours)
    both = (
        np.minimum(found[name], 150) for name in ("plain", "ours")
    )  # the mixture's SAR is infinite but for rounding
    return row("pairs/s", plain, ours, largest_difference_db=float(np.abs(np.subtract(*both)).max()))


def build_shards(clips=5, rounds=2):
    """Shards of whole clips, against nine frames and spectrograms of each in a compressed npz."""
    root, target, made = folder(), temporary() / "plain", iter(range(rounds))
    target.mkdir()

    def plain():
        for k in range(clips):
            write_npz(root, target, f"clip{k:02d}", np.random.default_rng(k))
        return clips

    built = []

    def ours():
        built.append(temporary() / f"built{next(made)}")
        return build(built[-1])

    plain, ours = in_turn(rounds, plain=plain, ours=ours)
    share = size_of(built[0]) / CLIPS / (size_of(target) / clips)
    return row("clips/s", plain, ours, share_of_bytes=share)


def size_of(path):
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# ---------------------------------------------------------------------------------------------------------- limits


@cache
def jpeg():
    picture = opencv_frame(folder() / "train" / "video" / "clip00.mp4", np.random.default_rng(0))
    return cv2.imencode(".jpg", cv2.resize(picture, (256, 256)), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]


def decode_jpegs(count=100):
    for _ in range(count):
        cv2.imdecode(jpeg(), cv2.IMREAD_COLOR)
    return count


@cache
def limits(size=2048):
    """What the machine can do on one thread: JPEGs of 256 x 256, q90, a second; large matrix products, GFLOP/s."""
    device = pick_device()
    one = torch.randn(size, size, device=device)
    half = one.bfloat16()

    def product(x):
        x @ x
        finish(device)
        return 2 * size**3 / 1e9

    product(one), product(half)
    fp32, bf16, jpegs = in_turn(3, fp32=lambda: product(one), bf16=lambda: product(half), jpegs=decode_jpegs)
    return {"matmul_fp32_gflops": fp32, "matmul_bf16_gflops": bf16, "jpeg_256_per_s": jpegs}


# ------------------------------------------------------------------------------------------------------------ table

ROWS = {  # name: (function, what it is, the ratio to reach)
    "loader_mp4": (loader_mp4, "samples from mp4, all work", 6.5),
    "loader_shards_worker": (loader_shards_worker, "samples from shards, worker's part", 12),
    "loader_shards_full": (loader_shards_full, "samples from shards, all work", 6),
    "loader_processes": (loader_processes, "samples through a process", 1.45),
    "train_step": (train_step, "training step, width 64", 7.5),
    "embed": (embed_clips, "embedding", 8),
    "ndcg_4300": (ndcg_4300, "retrieval, 4,300 clips", 1000),
    "separation": (separation, "SDR, SIR, SAR of a pair", 8),
    "build_shards": (build_shards, "preparing shards", 3.8),
}


def line(name, found):
    """One line of the table."""
    _, what, reach = ROWS[name]
    limit = f"{found['limit'] / found['plain']:8.1f}x" if "limit" in found else ""
    extra = "".join(f"  {k} {v:.6g}" for k, v in found.items() if k in EXTRAS)
    rates = f"{found['plain']:10.4g} {found['ours']:10.4g} {found['unit']:14}"
    return f"{what:36} {rates} {found['ratio']:8.1f}x {reach:8}x {limit:>9}{extra}"


EXTRAS = ("ratio_without_in_batch_pairs", "cosine", "share_of_bytes", "largest_difference_db")


def main(argv=None):
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure [all]")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        found = {"limits": limits()}
        print("on one thread: " + ", ".join(f"{name} {value:.0f}" for name, value in limits().items()))
        print(f"{'':36} {'plain':>10} {'ours':>10} {'':14} {'ratio':>9} {'to reach':>9} {'limit':>9}", flush=True)
        for name in args.only:
            found[name] = ROWS[name][0]()
            print(line(name, found[name]), flush=True)
    finally:
        shutil.rmtree(temporary())
    if args.json:
        write_json(args.json, found)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
