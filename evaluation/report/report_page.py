"""The report page of an evaluation: the clips, the net and the measures brought together for `evaluation.report.html_report`."""

import torch

from dataset.transforms.sounds import prepare_sounds
from evaluation.measures.ontology import clip_relevance
from evaluation.report import html_report
from evaluation.tasks.embeddings import retrieval_vectors
from evaluation.tasks.localization import make_cross_maps
from utils.config import changed_settings


def write_report_page(out, metrics, net, log, seen=None, classes=None, maps=None, boxes=None):
    """Write OUT/report.html: `evaluation.report.html_report.write_report` of what eval.py measured.

    Args:
        out: Path. metrics: content of metrics.json. net: a `Net`. log: lines of the run's log.jsonl.
        seen: a `Seen`, with classes, an `Ontology`; or None for a net that embeds no clips.
        maps: (N, h, w) location logits, with boxes, N lists of entries; or None for a net without maps.

    Returns:
        Path of the page.
    """
    run = {"changed": changed_settings(net.config), "log": log}
    if seen is None:
        return html_report.write_report(out, metrics, run)
    found = {"clips": {"ids": seen.ids(), "labels": seen.labels, "name": classes.name}}
    found["sense"] = make_clip_loader(seen, net.config)
    if "retrieval" in metrics:
        table, kind = clip_relevance(seen.labels, classes)
        found |= {"vectors": retrieval_vectors(net.model, seen), "relevance": lambda i, j: table[kind[i], kind[j]]}
    if maps is not None:
        found["maps"] = {"logits": maps, "entries": boxes, "cross": make_cross_maps(net.model, seen.v, seen.a)}
    return html_report.write_report(out, metrics, run, **found)


def make_clip_loader(seen, config):
    """How the page gets the k-th clip: a callable (k) -> frame (S, S, 3) uint8, log spectrogram (F, T), sound, rate.

    The sound is (samples,) int16, at a rate in Hz: the second that the net heard.
    """

    def sense(k):
        (frame, sound), rate = seen.sample(k), config.data.sample_rate
        spectrogram = prepare_sounds(torch.from_numpy(sound)[None], rate, config.spectrogram)
        return frame, spectrogram[0, 0].numpy(), sound, rate

    return sense
