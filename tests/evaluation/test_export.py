"""export.py: what it writes computes what the net computes, by an engine of its own, and is read back."""

import json

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from helpers import numbered, small_checkpoint, small_pixelplayer, tone
from PIL import Image

import export
import models
from evaluation.checkpoint_files import read_checkpoint
from evaluation.exporting import comparison, onnx_files, quantization
from evaluation.exporting.folder import RealInputs
from utils import checkpoint
from utils.errors import UserError

VOL = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 72}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures and sounds of different sizes and rates."""
    folder = tmp_path_factory.mktemp("files")
    for k in range(8):
        Image.fromarray(numbered(400 * k + 3, (40 + 30 * k, 64))).save(folder / f"{k}.png")
        rate = (8000, 22050)[k % 2]
        noise = 0.01 * np.random.default_rng(k).standard_normal(rate * 5)
        soundfile.write(folder / f"{k}.wav", tone(5, rate, 150 * (k + 1), overtones=3) + noise, rate)
    return folder


def words(path, to, out, files, *more):
    return ["--checkpoint", str(path), "--to", to, "--out", str(out), "--input", str(files), *more]


def test_safetensors_hold_the_evaluated_weights_and_are_read_back(tmp_path):
    raw, average = (checkpoint.load(small_checkpoint(tmp_path / f"{k}.pt", seed=k)) for k in (0, 1))
    checkpoint.save(tmp_path / "best.pt", {**raw, "ema": average["model"], "step": 7, "metrics": {"auc": 0.5}})
    export.main(["--checkpoint", str(tmp_path / "best.pt"), "--to", "safetensors", "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    weights = safetensors.torch.load_file(tmp_path / "out/model.safetensors")
    assert weights.keys() == average["model"].keys()
    assert all(torch.equal(weights[name], value) for name, value in average["model"].items())
    for source in (tmp_path / "out", tmp_path / "out/model.safetensors", str(tmp_path / "out") + "/"):
        net = models.load(source)
        assert torch.equal(net.embed_frames(numbered(7)), models.load(tmp_path / "best.pt").embed_frames(numbered(7)))
        assert net.net.content["step"] == 7 and net.net.content["metrics"] == {"auc": 0.5}
    with pytest.raises(UserError, match=r"out already exists and isn't an empty folder: choose another --out"):
        export.main(["--checkpoint", str(tmp_path / "0.pt"), "--to", "safetensors", "--out", str(tmp_path / "out")])


def test_an_incomplete_or_foreign_export_is_one_sentence(tmp_path):
    export.main(
        [
            "--checkpoint",
            str(small_checkpoint(tmp_path / "a.pt")),
            "--to",
            "safetensors",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    config = tmp_path / "out/config.json"
    about = json.loads(config.read_text())
    for content, message in (
        ("{", "no complete folder of export.py .it is no JSON.: export the net again"),
        ("[1]", "was not written by this project"),
        (json.dumps(about | {"format": 99}), "was written by a newer version of this repository"),
        (json.dumps({**about, "config": {"model": {"width": 8}}}), "weights don't fit"),
    ):
        config.write_text(content)
        with pytest.raises(UserError, match=message):
            models.load(tmp_path / "out")
    config.unlink()
    with pytest.raises(UserError, match=r"no complete folder of export.py"):
        read_checkpoint(tmp_path / "out")
    config.write_text(json.dumps(about))
    (tmp_path / "out/model.safetensors").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"model.safetensors is damaged or no weights"):
        models.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--checkpoint is missing"),
        (["--checkpoint", "a.pt", "--to", "onnx"], "--out is missing: python export.py --checkpoint FILE"),
        (["--checkpoint", "a.pt", "--to", "tflite", "--out", "x"], "tflite"),
        (
            ["--checkpoint", "a.pt", "--to", "exported", "--int8", "--out", "x"],
            "--int8 needs --to onnx, and --to is exp",
        ),
        (["--checkpoint", "missing.pt", "--to", "onnx", "--out", "x"], "there is no checkpoint missing.pt"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message):
    with pytest.raises(UserError, match=message):
        export.main(arguments)


def run_by_onnxruntime(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)


@pytest.mark.slow
def test_onnx_files_give_the_nets_own_outputs(files, tmp_path, capsys):
    for name in onnx_files.PACKAGES:
        pytest.importorskip(name)
    path = small_checkpoint(tmp_path / "best.pt", **VOL, **{"eval.object_weight": 0.3})
    about = export.main(words(path, "onnx", tmp_path / "out", files))
    assert "checked on 8 frames and 16 sounds: outputs differ by" in capsys.readouterr().out
    assert about["difference"] < 1e-4 and about["opset"] == 18
    assert {*about["files"]} == {"frames.onnx", "sounds.onnx", "scores.onnx", "maps.onnx"}
    net = models.load(tmp_path / "out", {"train.precision": "fp32"})  # the folder is the net again
    pictures, waves = sorted(files.glob("*.png"))[:5], sorted(files.glob("*.wav"))[:5]
    squares = np.stack([np.asarray(Image.open(one).resize((72, 72), Image.Resampling.BICUBIC)) for one in pictures])
    from evaluation.net_inputs import cut_sounds

    sounds = (cut_sounds(waves, None, 8000, 1.0) / 32768).astype(np.float32)
    v, vectors, objects = run_by_onnxruntime(tmp_path / "out/frames.onnx")(frames=squares)
    a, sound_vectors = run_by_onnxruntime(tmp_path / "out/sounds.onnx")(sounds=sounds)
    np.testing.assert_allclose(vectors, net.embed_frames(list(squares)), atol=1e-4)
    np.testing.assert_allclose(sound_vectors, net.embed_sounds(waves), atol=1e-4)
    (scores,) = run_by_onnxruntime(tmp_path / "out/scores.onnx")(frames=v, sounds=a[:3])
    np.testing.assert_allclose(scores, net.correspondence(list(squares), waves[:3]), atol=1e-4)
    (maps,) = run_by_onnxruntime(tmp_path / "out/maps.onnx")(frames=v, sounds=a, objects=objects)
    mixed = net.net.localize(torch.from_numpy(v), torch.from_numpy(a), torch.from_numpy(objects))
    np.testing.assert_allclose(maps, mixed, atol=1e-4)
    shape = about["files"]["frames.onnx"]["inputs"]["frames"]
    assert shape == {"type": "uint8", "shape": ["batch", 72, 72, 3]}


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "exported"])
def test_a_pixelplayers_files_separate_as_the_net_does(files, tmp_path, to):
    if to == "onnx":
        for name in onnx_files.PACKAGES:
            pytest.importorskip(name)
    path = small_pixelplayer(tmp_path / "best.pt", **{"mix.samples": 14847, "mix.mask": "binary"})
    about = export.main(words(path, to, tmp_path / "out", files))
    assert about["difference"] < 1e-3
    suffix = {"onnx": "onnx", "exported": "pt2"}[to]
    assert {*about["files"]} == {f"{name}.{suffix}" for name in ("frames", "sounds", "masks")}
    assert models.load(tmp_path / "out").methods == ("separate",)


@pytest.mark.slow
def test_int8_keeps_the_heads_in_float_and_embeds_by_onnxruntime(files, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    for name in onnx_files.PACKAGES:
        pytest.importorskip(name)
    import embed

    path = small_checkpoint(tmp_path / "best.pt", **{"model.width": 8})
    many = tmp_path / "files"
    many.mkdir()
    for k in range(20):
        Image.fromarray(numbered(200 * k + 3, (64, 64))).save(many / f"{k}.png")
        soundfile.write(many / f"{k}.wav", tone(2, 8000, 120 * (k + 1), overtones=3), 8000)
    about = export.main(words(path, "onnx", tmp_path / "out", many, "--int8"))
    assert "int8 agrees with float32 on 10 frames and 10 sounds that were held back" in capsys.readouterr().out
    assert about["int8"]["cosine_frames"] > 0.99 and about["int8"]["cosine_sounds"] > 0.99
    for name, heads in (("frames", 0), ("sounds", 1)):  # the spectrogram of sounds is a convolution, too
        nodes = onnx.load(tmp_path / f"out/{name}.onnx").graph.node
        quantized = {value for node in nodes if node.op_type == "DequantizeLinear" for value in node.output}
        convs = [node for node in nodes if node.op_type == "Conv"]
        inside = [node for node in convs if node.input[0] in quantized and node.input[1] in quantized]
        assert len(inside) % 8 == 0 and len(convs) - len(inside) == heads and inside
        assert not any(node.input[0] in quantized for node in nodes if node.op_type in ("Gemm", "MatMul"))
    words_of = ["--checkpoint", str(tmp_path / "out"), "--input", str(many)]
    by_torch = embed.main([*words_of, "--out", str(tmp_path / "torch")])
    by_onnx = embed.main([*words_of, "--out", str(tmp_path / "onnx"), "--engine", "onnx"])
    for one, other in ((by_torch.frames, by_onnx.frames), (by_torch.sounds, by_onnx.sounds)):
        assert (one * other).sum(1).max() > 0.99 and np.abs(one - other).max() > 1e-6  # other numbers, nearly the same
    with pytest.raises(UserError, match=r"engine"):
        embed.main([*words_of, "--out", str(tmp_path / "onnx")])
    with pytest.raises(UserError, match=r"eval.flip_tta is fixed in the files of .*out: remove it, or give it to exp"):
        embed.main([*words_of, "--out", str(tmp_path / "b"), "--engine", "onnx", "--eval.flip_tta", "false"])


def test_an_engine_without_onnx_files_says_how_to_write_them(tmp_path):
    import embed

    path = small_checkpoint(tmp_path / "best.pt")
    with pytest.raises(UserError, match=r"is no ONNX export of a net that embeds: write one with python export.py"):
        embed.main(
            ["--checkpoint", str(path), "--input", str(tmp_path), "--out", str(tmp_path / "e"), "--engine", "onnx"]
        )


def test_a_file_that_differs_from_the_net_is_refused():
    outputs = np.zeros((4, 2), np.float32)
    assert comparison._difference(outputs + 5e-5, outputs) < comparison.TOLERANCE
    assert comparison._difference(outputs + 2e-4, outputs) > comparison.TOLERANCE
    assert comparison._difference(outputs + 102e-3, outputs + 100) == pytest.approx(1 - 1e-3, rel=0.01)
    assert comparison._difference(outputs[:3], outputs) == np.inf
    assert not comparison._difference(outputs * np.nan, outputs) <= comparison.TOLERANCE


def test_int8_that_agrees_too_little_is_refused():
    rng = np.random.default_rng(0)
    v, a = (rng.standard_normal((20, 8)) for _ in range(2))
    v, a = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (v, a))
    inputs = RealInputs(np.zeros((20, 1, 1, 3), np.uint8), np.zeros((20, 5), np.int16))

    def runs(noise):
        return {
            "frames": lambda inputs: [None, v + noise * rng.standard_normal(v.shape)],
            "sounds": lambda inputs: [None, a],
        }

    found = quantization.measure_agreement((v, a), runs(0), inputs)
    assert found == {"cosine_frames": 1, "cosine_sounds": 1, "top1": 1}
    with pytest.raises(
        UserError, match=r"int8 agrees too little with float32 on 20 frames and 20 sounds .*: nothing was"
    ):
        quantization.measure_agreement((v, a), runs(1), inputs)
    with pytest.raises(
        UserError, match=r"--int8 needs 16 frames and sounds at least, .* there are 3 and 20: give more"
    ):
        quantization.require_inputs(RealInputs(inputs.frames[:3], inputs.sounds))


def test_missing_libraries_and_opsets_are_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="needs no_such_library, which is not installed: run `pip install no_such_libr"):
        onnx_files.import_optional("no_such_library", "--to onnx")
    for name in onnx_files.PACKAGES:
        pytest.importorskip(name)
    onnx_files.require_onnx()
    for opset in (7, 9999):
        with pytest.raises(UserError, match=rf"--opset is {opset}, but torch and the installed onnx write 18 to \d+"):
            onnx_files.require_onnx(opset)
    with pytest.raises(UserError, match=r"there is no file .*frames.onnx: export the net again"):
        onnx_files.open_session(tmp_path / "frames.onnx")
    (tmp_path / "frames.onnx").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"onnxruntime .* can't run .*frames.onnx"):
        onnx_files.open_session(tmp_path / "frames.onnx")
    with pytest.raises(UserError, match=r"onnxruntime .* can't run a new file .*install a newer onnxruntime"):
        onnx_files.open_session(file_of_opset(9999), "a new file")


def file_of_opset(opset):
    import onnx

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)]).SerializeToString()


def test_a_net_of_flow_and_a_dataset_that_is_not_there_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    path = small_checkpoint(tmp_path / "best.pt", **{"data.root": str(tmp_path / "no_data")})
    with pytest.raises(
        UserError, match=r"data.root is .*no_data, where no clips are: give --data.root DIR, or --input"
    ):
        export.main(["--checkpoint", str(path), "--to", "exported", "--out", str(tmp_path / "out")])
    (tmp_path / "pictures").mkdir()
    Image.fromarray(numbered(3)).save(tmp_path / "pictures/a.png")
    with pytest.raises(UserError, match=r"pictures has no sound that can be read: give --input DIR"):
        export.main(words(path, "exported", tmp_path / "out", tmp_path / "pictures"))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
