"""Processes that train together share out a validation, exchange what is small, and all get what one process gets."""

import pytest
import torch
from helpers import make_dataset
from processes import import_once, together

import dataset.mixes
from dataset.data_module import AVCDataModule, MixtureDataModule
from dataset.mixes import fixed_mixtures, mixture_batches
from dataset.transforms.frames import PairTransform
from evaluation.measures.correspondence import join_group_rows, score_group_rows, score_groups
from evaluation.measures.localization import peak_fraction
from evaluation.tasks.correspondence import validate_avc
from evaluation.tasks.embeddings import embed_batches, gather_clips
from evaluation.tasks.separation import validate_separation
from models import build_net
from models.object_maps import location_maps
from utils import distributed
from utils.config import load_config, override

SMALL = {"model.width": 2, "model.dim": 8, "train.workers": 0, "train.precision": "fp32"}
pytestmark = pytest.mark.usefixtures("_imports_once")


@pytest.fixture(scope="module")
def _imports_once():
    yield from import_once()


@pytest.fixture(scope="module", params=[False, True], ids=["", "with a clip that can't be read"])
def data(tmp_path_factory, request):
    root = make_dataset(tmp_path_factory.mktemp("data") / "clips", train=8, val=9, test=0, boxes=True, seconds=2.5)
    videos = sorted((root / "val/video").iterdir())
    if request.param:
        videos[8].write_bytes(b"no video" * 200)
    return root


def opened(module, config, root, settings):
    config = override(
        load_config(config), SMALL | settings | {"data.root": str(root), "data.on_error": "skip", "train.batch_size": 6}
    )
    data = module(config, "cpu", distributed.rank(), distributed.world_size())
    torch.manual_seed(0)
    return config, data, list(data.val_batches(lambda clip, message: None)), build_net(config.model)


def localized(root, settings):
    config, data, batches, model = opened(AVCDataModule, "configs/demo_VOLNet.py", root, settings)
    found = embed_batches(model, batches, PairTransform(config, train=False), "fp32", flip=True)
    measures = validate_avc(model, found, 4, "cpu", "val")
    maps = location_maps(model, found.v, found.a) if len(found.v) else torch.empty(0)
    indices, times, maps = gather_clips(found.indices, found.times, maps)
    return len(found.v), measures | {"peak": peak_fraction(maps.numpy(), data.val_boxes(indices, times))}


@pytest.mark.parametrize("size", [2, 64])  # 64: one batch, which leaves nothing for process 1
def test_avol_nets_validation_keeps_the_frames_where_they_are_and_is_exact(data, tmp_path, size):
    (whole,) = together(1, tmp_path / "one", localized, data, {"eval.batch_size": size})
    shares = together(2, tmp_path / "two", localized, data, {"eval.batch_size": size})
    frames, measures = whole.result
    assert frames in (8, 9) and measures["peak"] is not None
    held = [share.result[0] for share in shares]
    assert sum(held) == frames and held[1] == (0 if size == 64 else 4)
    for share in shares:
        assert share.result[1] == pytest.approx(measures, abs=1e-6)


def separated(root, settings):
    dataset.mixes.MIXTURES_PER_BATCH = 2
    config, data, batches, model = opened(MixtureDataModule, "configs/demo_PixelPlayer.py", root, settings)
    mixtures = fixed_mixtures(data.splits["val"], config.mix)
    measures = validate_separation(model.eval(), config, batches, mixtures)
    return len(mixtures), sum(len(batch["indices"]) for batch in batches), measures


def test_pixel_players_validation_is_shared_out_and_exact(data, tmp_path):
    settings = {"eval.batch_size": 2}
    (whole,) = together(1, tmp_path / "one", separated, data, settings)
    shares = together(3, tmp_path / "three", separated, data, settings)
    assert whole.code == 0, whole.err
    for share in shares:
        assert share.code == 0, share.err
        assert share.result[1] < whole.result[1]  # clips
        assert share.result[2] == pytest.approx(whole.result[2], abs=1e-5)


@pytest.mark.parametrize(("count", "processes"), [(0, 2), (5, 1), (33, 2), (48, 3), (16, 4)])
def test_every_mixture_is_in_one_share(count, processes):
    mixtures = [[k, k + 1] for k in range(count)]
    shares = [mixture_batches(mixtures, rank, processes) for rank in range(processes)]
    assert sorted(one for share in shares for batch in share for one in batch) == mixtures


def test_rows_of_parts_are_the_scores_of_all():
    draw = torch.Generator().manual_seed(0)
    v, a = torch.randn(11, 5, generator=draw), torch.randn(11, 5, generator=draw)

    def logits(frames, sounds):
        return frames @ sounds.T

    parts = [torch.tensor([0, 3, 4, 10]), torch.tensor([1, 2, 5, 6, 7, 8, 9]), torch.tensor([], dtype=torch.int64)]
    rows = [(part.numpy(), score_group_rows(logits, v[part], a, part.numpy(), 4)) for part in parts]
    for joined, whole in zip(join_group_rows(rows, 4), score_groups(logits, v, a, 4), strict=True):
        assert joined == pytest.approx(whole, abs=1e-6)
