"""A small report page of invented clips, hostile names included, written in a second."""

import json
import wave

import numpy as np
from PIL import Image

from evaluation.measures import correspondence, localization
from evaluation.measures import negative_sounds as negatives
from evaluation.measures.ontology import Ontology, clip_relevance
from evaluation.measures.retrieval import four_directions
from evaluation.report import html_report
from evaluation.report.page_content import ClipMedia, PageClips, PageContent, PageMaps, PageRetrieval, RunInfo
from utils.config import ChangedSetting

CLIPS, SIZE, RATE = 24, 48, 8000
HOSTILE = '<img src=x onerror="window.broken=1">'
CLASSES = Ontology(
    [
        {"id": "/m/all", "name": "All", "child_ids": ["/m/a", "/m/b", "/m/c"]},
        {"id": "/m/a", "name": HOSTILE, "child_ids": []},
        {"id": "/m/b", "name": "Bell & </script><b>", "child_ids": []},
        {"id": "/m/c", "name": "Cello", "child_ids": ["/m/d"]},
        {"id": "/m/d", "name": "Drum", "child_ids": []},
    ],
    "ontology.json",
)
LABELS = [[["/m/a"], ["/m/b"], ["/m/c"], ["/m/d"]][k % 4] for k in range(CLIPS)]
IDS = [f"clip{k}" for k in range(CLIPS - 2)] + ["a#?%20&.mp4", HOSTILE]


def load_media(k):
    """The k-th clip's media."""
    frame = np.full((SIZE, SIZE, 3), 40 + 8 * k, np.uint8)
    frame[k : k + 16, k : k + 16] = (220, 60, 40 * (k % 4))
    sound = (8000 * np.sin(np.arange(RATE) * 0.05 * (1 + k % 4))).astype(np.int16)
    return ClipMedia(frame, np.outer(np.arange(20), np.arange(30) % (k + 2)).astype(np.float32), sound, RATE)


def embeddings():
    """(v, a), (CLIPS, 8) unit vectors: near their class, which is the same for both."""
    random = np.random.default_rng(0)
    centres = np.eye(8)[[k % 4 for k in range(CLIPS)]]
    sides = (centres + 0.25 * random.normal(size=centres.shape) for _ in range(2))
    return tuple((side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in sides)


def maps():
    """Location logits of CLIPS frames, their boxes, and those of any frames with any sounds."""
    logits = np.random.default_rng(1).normal(-3, 1, (CLIPS, 4, 4)).astype(np.float32)
    logits[::2, 1, 1] = 4  # inside the box: found; in the others, chance
    box = {"time": 0.5, "box": [0.2, 0.2, 0.55, 0.55], "label": "/m/a", "sounding": True}
    silent = {"time": 0.5, "box": [0.6, 0.6, 0.9, 0.9], "label": "/m/b", "sounding": False}
    entries = [[box, silent] if k % 3 == 0 else [box] for k in range(CLIPS)]
    return PageMaps(logits, entries, lambda chosen: logits[chosen][:, None].repeat(len(chosen), 1))


def log():
    """Lines as of log.jsonl."""
    train = [{"kind": "train", "step": k, "seconds": k / 2, "epoch": k / 10, "loss": 1 / k, "accuracy": 0.9}
             for k in range(10, 200, 10)]  # fmt: skip
    val = [{"kind": "val", "step": k, "seconds": k / 2, "epoch": k / 10, "loss": 0.3, "accuracy": 0.8, "auc": 0.85}
           for k in (100, 190)]  # fmt: skip
    return train + val


def negative_sounds():
    """That section of a metrics.json, of made up confidences."""
    rng = np.random.default_rng(1)
    drawn = [rng.random(CLIPS) for _ in range(5)]
    pairs = negatives.NegativePairs(
        drawn[0], drawn[1] > 0.5, drawn[2] / 2, drawn[1], drawn[3], drawn[4] / 4, np.arange(CLIPS)
    )
    groups = dict.fromkeys(negatives.NEGATIVE_SOUNDS.groups, negatives.negative_measures(pairs))
    return {"threshold": 0.25, "frames": CLIPS, **groups}


def metrics():
    """Content of a metrics.json, measured on these clips."""
    v, a = embeddings()
    logits, found = v @ a.T, maps()
    on = np.eye(CLIPS, dtype=bool)
    classes = ["/m/a", "/m/b", "/m/c", "/m/d"]
    return {
        "model": "AVOLNet", "split": "test", "clips": CLIPS, "skipped": 1, "checkpoint": "runs/x/best.pt", "step": 190,
        "data": "data/<b>mine</b>", "avc": correspondence.avc_measures(logits[on], logits[~on], 0.5),
        "by_class": {"classes": classes, "called_a_match": [[0.25, None, 0.5, 0.75]] * 4},
        "retrieval": four_directions(v, a, LABELS, CLASSES),
        "separation": {"sdr": 5.25, "sdr_mixture": 0.5, "nsdr": 4.75, "swap_consistency": 0.975, "pairs": 3},
        "localization": localization.box_measures(found.logits, found.boxes, SIZE)[0],
        "negative_sounds": negative_sounds(),
    }  # fmt: skip


def write(out):
    """Write the page, its metrics.json and two separated pairs into a folder; returns the page's Path."""
    measured, (relevance, kind) = metrics(), clip_relevance(LABELS, CLASSES)
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(measured))
    separation(out / "separation")
    clips = PageClips(IDS, LABELS, CLASSES.name, load_media)
    retrieval = PageRetrieval(*embeddings(), lambda i, j: relevance.between(kind[i], kind[j]))
    run = RunInfo([ChangedSetting("model.width", 8, 64, "channels <i>of</i> the first convolution")], log())
    return html_report.write_report(out, measured, run, PageContent(clips, retrieval, maps()))


def separation(folder):
    """Two separated pairs in the form that an evaluation leaves."""
    frame = load_media(3).frame
    pairs = []
    for name in ("pair_0", "a#?%20"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for sound in ("mixture", "pred_1", "pred_2", "true_1", "true_2"):
            with wave.open(str(folder / name / f"{sound}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes(load_media(2).sound.tobytes())
        for picture in ("spectrogram.jpg", "mask_1.jpg", "frame_2.jpg", "frame_energy_2.png"):
            Image.fromarray(frame).save(folder / name / picture)
        pairs.append(
            {
                "folder": name,
                "classes": [HOSTILE, "Cello"],
                "nsdr": 4.5,
                "nsdr_ideal_binary": 9.25,
                "sdr_mixture": 0.5,
                "sir_mixture": 0.5,
            }
        )
    pairs.append({"classes": ["without", "sounds"], "nsdr": 1.5})
    (folder / "pairs.json").write_text(json.dumps(pairs))
