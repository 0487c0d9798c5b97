"""The interface of a task of eval.py: what it gets (`EvalContext`) and what it returns (`TaskResult`)."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from dataset.making.text import count_text
from dataset.reading.benchmarks.benchmark import Benchmark
from dataset.transforms.sounds import prepare_sounds
from evaluation.given.sounds import GivenSounds
from evaluation.measures.ontology import Ontology
from evaluation.report.page_content import ClipMedia, PageClips, PageContent, PageMaps, PageRetrieval
from evaluation.tasks.embeddings import EvalSplit, SplitEmbeddings, embed_split, open_eval_moments, warn_unknown_labels
from evaluation.trained_net import TrainedNet
from utils.config import Config


@dataclass(frozen=True)
class EvalOptions:
    """Options of eval.py that concern a single task.

    Attributes:
        baselines: retrieval: names of `evaluation.tasks.names.BASELINES`.
        vgg16: retrieval: file of VGG16's weights, or "imagenet" to download them.
        pictures: localization: number of clips whose maps are drawn.
        video: localization: number of clips whose maps become a video.
        untrained: probe, finetune: also measure a net with fresh weights.
    """

    baselines: tuple[str, ...] = ()
    vgg16: str = "imagenet"
    pictures: int = 200
    video: int = 0
    untrained: bool = False


@dataclass(frozen=True)
class EvalContext:
    """What the tasks of an evaluation work on.

    Attributes:
        net: the trained net.
        split: name of the split, or of the benchmark.
        data: the split, opened.
        ontology: names of classes, and how related they are.
        out: folder of the results.
        options: of single tasks.
        given: embeddings that another program wrote, in the place of the net's; or None.
        sounds: separated sounds that another program wrote, in the place of the net's; or None.
    """

    net: TrainedNet
    split: str
    data: EvalSplit
    ontology: Ontology
    out: Path
    options: EvalOptions = field(default_factory=EvalOptions)
    given: SplitEmbeddings | None = None
    sounds: GivenSounds | None = None

    @property
    def config(self) -> Config:
        """The settings of the net."""
        return self.net.config

    @cached_property
    def embeddings(self) -> SplitEmbeddings:
        """The embeddings of the split: computed once, at the first use, and shared by the tasks that compare them."""
        embeddings = self.given or embed_split(self.net.encoder, self.config, self.data)
        warn_unknown_labels(embeddings.labels, self.ontology)
        return embeddings

    @cached_property
    def moments(self) -> SplitEmbeddings:
        """The embeddings of the split at data.moments times of each clip."""
        clips = self.embeddings.clips
        assert not isinstance(clips, Benchmark), "benchmarks have one frame of a clip"
        return embed_split(self.net.encoder, self.config, open_eval_moments(self.config, clips))

    def moment_notes(self) -> tuple[str, ...]:
        """Say how many clips have too few times for data.moments, if any has; no evaluation of moments, no note."""
        lost = set(self.embeddings.ids) - set(self.moments.ids) if self.config.data.moments > 1 else set()
        if not lost:
            return ()
        clips = count_text(len(lost), "clip")
        return (f"the means over moments leave out {clips} with too few times for data.moments, such as {min(lost)}",)

    def embedding_result(
        self,
        metrics: dict[str, Any],
        retrieval: PageRetrieval | None = None,
        maps: PageMaps | None = None,
        notes: tuple[str, ...] = (),
    ) -> "TaskResult":
        """Build the result of a task that measures `embeddings`.

        Args:
            metrics: sections of metrics.json.
            retrieval: what the page shows of retrieval, or None.
            maps: what the page shows of localization, or None.
            notes: sentences on what could not be measured.
        """
        embeddings = self.embeddings
        clips = PageClips(embeddings.ids, embeddings.labels, self.ontology.name, self._load_media)
        page = PageContent(clips, retrieval, maps)
        return TaskResult(metrics, len(embeddings), embeddings.skipped, page, notes)

    def _load_media(self, k: int) -> ClipMedia:
        """What was embedded of the k-th clip of `embeddings`."""
        (frame, sound), rate = self.embeddings.sample(k), self.config.data.sample_rate
        spectrogram = prepare_sounds(torch.from_numpy(sound)[None], rate, self.config.spectrogram)
        return ClipMedia(frame, spectrogram[0, 0].numpy(), sound, rate)


@dataclass(frozen=True)
class TaskResult:
    """What a task has measured.

    Attributes:
        metrics: sections of metrics.json; empty if nothing in the split can be measured.
        clips: number of clips that were measured.
        skipped: {id: reason} of the clips that can't be read.
        page: what report.html shows in addition to the measures.
        notes: sentences on what could not be measured.
    """

    metrics: dict[str, Any]
    clips: int
    skipped: dict[str, str]
    page: PageContent = field(default_factory=PageContent)
    notes: tuple[str, ...] = ()


class Task(Protocol):
    """A task of eval.py. A new one is listed in `evaluation.tasks.all_tasks.TASKS`.

    Attributes:
        name: its word for `--tasks`.
    """

    name: str

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether a net, `model`, has what the task measures, by the protocols of `models.interfaces`."""
        ...

    def run(self, context: EvalContext) -> TaskResult:
        """Measure the net of `context` on its split, and write what else the task leaves in the folder of results."""
        ...
