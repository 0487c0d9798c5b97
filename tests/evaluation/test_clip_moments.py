"""data.moments in evaluation: "clip" beside the rows of one instant, checked by loops over files read by hand."""

import json

import numpy as np
import pytest
import soundfile
from helpers import make_clip, make_dataset, small_checkpoint, tone, write_genres

import embed
import eval as evaluation
from collection import storage
from dataset.reading.clip_reader import ClipReader
from evaluation.measures.registry import undeclared
from evaluation.report.compare import differences, read_runs
from evaluation.trained_net import load_trained_net
from utils.errors import UserError

CLIPS, MOMENTS, SECONDS, RATE = 7, 3, 1.5, 8000
DIRECTIONS = ("im-im", "im-aud", "aud-im", "aud-aud")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips of 4 s whose sound and picture change: each moment is another one."""
    root = tmp_path_factory.mktemp("moments") / "data"
    for k in range(CLIPS):
        noise = np.random.default_rng(k)
        pictures = [np.kron(noise.integers(0, 255, (4, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))] * 14
        pictures += [np.kron(noise.integers(0, 255, (4, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))] * 26
        sound = np.concatenate([tone(1, RATE, 200 * 1.3 ** noise.uniform(0, 8), overtones=1 + s) for s in range(4)])
        make_clip(root / "test", f"{k}", 4.0, 10, rate=RATE, pictures=pictures, sound=sound)
    write_genres(root / "test", {f"{k}": [("/m/07y_7", "/m/05r5c")[k % 2]] for k in range(CLIPS)})
    return root


def evaluate(net, out, root, *words):
    places = ["--checkpoint", str(net), "--out", str(out), "--data.root", str(root), "--train.workers", "0"]
    return evaluation.main([*places, "--pictures", "0", "--data.seconds", str(SECONDS), *words])


@pytest.fixture(scope="module", params=["AVENet", "AVOLNet"])
def measured(request, root, tmp_path_factory):
    """(net, metrics without moments, with them, the folder): a checkpoint that knows nothing of them."""
    place = tmp_path_factory.mktemp(request.param)
    net = small_checkpoint(place / "best.pt", **{"model.name": request.param, "data.frame_step": 0.1})
    tasks = ("--tasks", "avc", "retrieval")
    plain = evaluate(net, place / "plain", root, *tasks)
    return net, plain, evaluate(net, place / "clip", root, *tasks, "--data.moments", str(MOMENTS)), place / "clip"


def embeddings_by_hand(net, root):
    """Frames and sounds at the middles of the equal parts of 0.75..3.25 s, embedded: M lists of (v, a)."""
    times = [0.1 * k for k in range(8, 33)]  # multiples of the step
    chosen = [times[int((m + 0.5) / MOMENTS * len(times))] for m in range(MOMENTS)]
    parts = []
    for time in chosen:
        frames, sounds = [], []
        for k in range(CLIPS):
            video, audio = root / "test" / "video" / f"{k}.mp4", root / "test" / "audio" / f"{k}.wav"
            with ClipReader(f"{k}", video, audio) as clip:
                frames.append(clip.frame(time, net.config.data.resize_size))
            wave, _ = soundfile.read(audio, dtype="int16")
            first = round((time - SECONDS / 2) * RATE)
            sounds.append(wave[first : first + round(SECONDS * RATE)])
        parts.append((net.embed_frames(np.stack(frames)), net.embed_sounds(np.stack(sounds))))
    return parts


def ranks(similarity):
    """Rank of the own item in each row, from 1."""
    return np.array([1 + (row > row[k]).sum() for k, row in enumerate(similarity)])


def test_the_rows_of_one_instant_stay(measured):
    _, plain, clip, _ = measured
    assert undeclared(clip) == [] and all("data.moments" not in note for note in clip["notes"])
    for section in ("avc", "retrieval"):
        both = clip[section].copy()
        assert both.pop("clip")["moments"] == MOMENTS
        assert both == plain[section]


def test_similarity_is_the_mean_over_aligned_moments(measured, root):
    path, _, metrics, _ = measured
    net = load_trained_net(path, {"data.seconds": SECONDS})
    parts = embeddings_by_hand(net, root)
    logits = np.mean([net.embedding_net.pair_logits(v, a).detach().numpy() for v, a in parts], 0)
    unit = [(net.encoder.frame_vectors(v).numpy(), net.encoder.sound_vectors(a).numpy()) for v, a in parts]
    cosines = logits if net.config.model.name == "AVOLNet" else np.mean([v @ a.T for v, a in unit], 0)
    found = metrics["retrieval"]["clip"]
    assert found.keys() == {*DIRECTIONS, "moments"}
    for direction, similarity in (("im-aud", cosines), ("aud-im", cosines.T)):
        rank = ranks(similarity)
        assert found[direction]["median_rank"] == np.median(rank)
        for k in (1, 5):
            assert found[direction][f"recall@{k}"] == pytest.approx((rank <= k).mean())
    for direction, side in (("im-im", 0), ("aud-aud", 1)):
        similarity = np.mean([vectors[side] @ vectors[side].T for vectors in unit], 0)
        np.fill_diagonal(similarity, -np.inf)
        nearest = similarity.argmax(1)
        same = np.mean([k % 2 == other % 2 for k, other in enumerate(nearest)])
        assert found[direction]["recall@1"] == pytest.approx(same)
    own, other = np.diagonal(logits), logits[~np.eye(CLIPS, dtype=bool)]
    wins = (own[:, None] > other).mean() + (own[:, None] == other).mean() / 2
    assert metrics["avc"]["clip"]["auc"] == pytest.approx(wins, abs=1e-6)
    assert metrics["avc"]["clip"]["accuracy_raw"] == pytest.approx(((own > 0).mean() + (other <= 0).mean()) / 2)


def test_table_and_page_show_both(measured, capsys):
    _, _, metrics, folder = measured
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert json.loads((folder / "metrics.json").read_text())["retrieval"]["clip"] == metrics["retrieval"]["clip"]
    for direction in DIRECTIONS:
        assert f'data-key="retrieval.clip.{direction}.ndcg"' in text
        assert f'data-key="retrieval.{direction}.ndcg"' in text
    assert 'data-key="avc.clip.auc"' in text and "mean over moments" in text


def test_runs_of_other_moments_are_not_compared_without_a_word(measured, tmp_path):
    _, plain, clip, _ = measured
    other = json.loads(json.dumps(clip).replace(f'"moments": {MOMENTS}', '"moments": 5'))
    for name, metrics in (("plain", plain), ("clip", clip), ("other", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    assert differences(read_runs([tmp_path / "plain", tmp_path / "clip"])) is None
    assert "data.moments (3, 5)" in differences(read_runs([tmp_path / "clip", tmp_path / "other"]))


def test_clips_with_too_few_times_stop_or_are_counted(root, tmp_path, capsys):
    data = make_dataset(tmp_path / "data", train=0, val=0, test=4, seconds=1.5, boxes=False)
    make_clip(data / "test", "short", 1.1, 10, rate=RATE)
    genres = json.loads((data / "test" / "vid2genre.json").read_text())
    write_genres(data / "test", genres | {"short": ["/m/07y_7"]})
    net = small_checkpoint(tmp_path / "best.pt", **{"data.frame_step": 0.1, "data.seconds": 1.0})
    words = ["--checkpoint", str(net), "--data.root", str(data), "--data.moments", "4", "--train.workers", "0"]
    words += ["--tasks", "avc", "retrieval", "--out", str(tmp_path / "out")]
    with pytest.raises(
        UserError, match=r"holds clip short, which has 2 times .* fewer than data\.moments \(4\): lower"
    ):
        evaluation.main(words)
    metrics = evaluation.main([*words, "--data.on_error", "skip"])
    assert (metrics["clips"], metrics["skipped"]) == (5, 0) and metrics["avc"]["clip"]["pairs"] == 16
    notes = [note for note in metrics["notes"] if "data.moments" in note]
    assert len(notes) == 1 and "leave out 1 clip with too few times for data.moments, such as short" in notes[0]


def test_embed_hears_data_seconds_around_the_time_of_a_row(root, tmp_path):
    net = small_checkpoint(tmp_path / "best.pt", **{"data.seconds": 2.5})
    embed.main(["--checkpoint", str(net), "--input", str(root / "test"), "--out", str(tmp_path / "emb")])
    got, opened = storage.load_collection(tmp_path / "emb.npz"), load_trained_net(net)
    assert len(got.times) == 4 * CLIPS and got.has_sound.all()
    for row in range(8):
        wave, _ = soundfile.read(root / "test" / got.file_of(row)[2], dtype="int16")
        first = min(max(round((got.times[row] - 1.25) * RATE), 0), len(wave) - 20000)
        a = opened.embed_sounds(wave[first : first + 20000][None]).numpy()[0]
        assert got.sounds[row] @ a == pytest.approx(1, abs=1e-4)
