"""What train.compile, train.deterministic and train.tf32 change, and what is said where they are not possible."""

import contextlib
import os
import shutil
import sys
from unittest import mock

import pytest
import torch
from toy_training import batch_of, config, lines, outcome, same, step, toy, train

import utils.training
from configs.schema import Train
from utils import checkpoint, device, kernels
from utils.device import BatchCopier, describe_start, start_line
from utils.errors import UserError
from utils.kernels import choose_kernels, compile_encoders, explain_kernel_errors

CPU, GPU = torch.device("cpu"), torch.device("cuda")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler: install g++")


@pytest.fixture(autouse=True)
def _torch_as_before():
    """torch.compile sets variables of the environment and adds to the folders of modules."""
    with mock.patch.dict(os.environ), mock.patch.object(sys, "path", list(sys.path)):
        yield
    choose_kernels(Train())


# ------------------------------------------------------------------------------------------------------- compilation


@needs_compiler
def test_a_compiled_training_is_the_same_and_its_checkpoint_loads_in_another(tmp_path):
    net, compiled = toy(), []
    net.norm.register_forward_hook(lambda *_: compiled.append(torch.compiler.is_compiling()))
    compile_encoders([net.norm], Train(compile=True))
    train(config(tmp_path / "plain"))
    train(config(tmp_path / "compiled", compile=True), net)
    assert True in compiled and False in compiled  # in steps, and in validations
    losses = [[line["loss"] for line in lines(tmp_path / name, "train")] for name in ("plain", "compiled")]
    assert len(losses[0]) == 12 and losses[1] == pytest.approx(losses[0], rel=1e-5)
    weights = [checkpoint.load(tmp_path / name / "run/last.pt")["model"] for name in ("plain", "compiled")]
    assert weights[0].keys() == weights[1].keys()
    assert lines(tmp_path / "compiled", "start")[0]["kernels"] == "compiled encoders"
    resumed, _ = train(config(tmp_path / "compiled", epochs=3), resume=True)
    assert len(lines(tmp_path / "compiled", "train")) == 18 and resumed.norm._compiled_call_impl is None


def test_without_the_setting_nothing_is_compiled():
    net = toy()
    compile_encoders([net.first], Train())
    assert net.first._compiled_call_impl is None


def test_a_machine_without_a_compiler_is_told_so_before_the_data_are_read(tmp_path, monkeypatch):
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (str(tmp_path / "nowhere"),))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    words = ["--config", "configs/demo_AVENet.py", "--train.compile", "true", "--train.run_dir", str(tmp_path / "run")]
    with pytest.raises(UserError, match=r"train\.compile.*InvalidCxxCompiler.*install a C\+\+ compiler.*false"):
        utils.training.setup_training(words, "", "train_AVENet.py", "", lambda *_: pytest.fail("data were read"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: out of memory")]
)
def test_too_little_memory_for_compiling_is_no_fault_of_the_compiler(error):
    from torch._dynamo.exc import BackendCompilerFailed

    with pytest.raises(type(error)) as raised, explain_kernel_errors(CPU, compiles=True):
        raise BackendCompilerFailed(lambda: None, error, None)
    assert raised.value is error


def test_the_compilers_own_error_is_told():
    from torch._inductor.exc import CppCompileError

    error = CppCompileError(
        ["g++", "a.cpp"], "In file included from a.cpp:1\nfatal error: Python.h: No such file\n  1 |"
    )
    said = r"train\.compile.*CppCompileError: .*fatal error: Python.h: No such file\): install a C\+\+ compiler"
    with pytest.raises(UserError, match=said), explain_kernel_errors(CPU, compiles=True):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("x"), UserError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, explain_kernel_errors(CPU, compiles=True):
        raise error
    assert raised.value is error


# ----------------------------------------------------------------------------------------------- deterministic kernels


def test_only_deterministic_kernels_are_chosen(monkeypatch):
    monkeypatch.delenv(kernels.CUBLAS_SETTING, raising=False)
    choose_kernels(Train(deterministic=True))
    assert torch.are_deterministic_algorithms_enabled() and os.environ[kernels.CUBLAS_SETTING] == ":4096:8"
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    choose_kernels(Train())
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic and torch.backends.cudnn.benchmark


def test_a_setting_of_cublas_that_is_not_deterministic_is_refused(monkeypatch):
    monkeypatch.setenv(kernels.CUBLAS_SETTING, ":0:0")
    choose_kernels(Train())
    with pytest.raises(UserError, match=r"train\.deterministic needs .*CUBLAS_WORKSPACE_CONFIG.*':0:0': unset it"):
        choose_kernels(Train(deterministic=True))


def test_the_kernels_are_chosen_before_anything_runs_on_a_gpu(monkeypatch):
    class Asked(Exception):
        pass

    def asked():
        assert torch.are_deterministic_algorithms_enabled() and kernels.CUBLAS_SETTING in os.environ
        raise Asked

    monkeypatch.setattr(utils.training, "pick_device", asked)
    words = ["--config", "configs/demo_AVENet.py", "--train.deterministic", "true"]
    with pytest.raises(Asked):
        utils.training.setup_training(words, "", "train_AVENet.py", "", lambda *_: None)


def test_what_has_no_deterministic_kernel_is_one_sentence(tmp_path):
    def puts(model, batch):
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        return step(model, batch)

    choose_kernels(Train(deterministic=True))
    with pytest.raises(UserError, match=r"train\.deterministic is not possible here: put_ has no deterministic kernel"):
        train(config(tmp_path / "a", deterministic=True), step=puts)
    choose_kernels(Train())
    train(config(tmp_path / "b"), step=puts)


def test_on_a_cpu_deterministic_kernels_change_nothing(tmp_path):
    train(config(tmp_path / "a"))
    choose_kernels(Train(deterministic=True))
    train(config(tmp_path / "b", deterministic=True))
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))
    assert lines(tmp_path / "b", "start")[0]["kernels"] == "deterministic kernels"


# ---------------------------------------------------------------------------------------------------------------- TF32


@pytest.mark.parametrize(
    ("capability", "precision", "tf32", "hip", "said"),
    [
        ((9, 0), "fp32", True, None, True),
        ((8, 0), "fp32", True, None, True),
        ((7, 5), "fp32", True, None, False),  # a T4 has no TF32
        ((9, 0), "bf16", True, None, False),
        ((9, 0), "fp32", False, None, False),
        ((9, 4), "fp32", True, "6.0", False),  # AMD
    ],
)
def test_the_start_says_whether_convolutions_are_in_tf32(monkeypatch, capability, precision, tf32, hip, said):
    properties = type("Properties", (), {"total_memory": 16_000_000_000})
    for name, value in {
        "get_device_name": "A card", "get_device_capability": capability, "get_device_properties": properties
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(device, "installed_gpu", lambda: ("A card", "580"))
    choose_kernels(Train(tf32=tf32))
    assert torch.backends.cudnn.allow_tf32 == tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert ("TF32 convolutions" in start_line(describe_start(GPU, precision, Train(tf32=tf32)))) == said


# --------------------------------------------------------------------------------------------------- copies of batches


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU, and what is done with it."""

    is_cuda, events = True, []

    def record_stream(self, stream):
        self.events.append(f"memory waits for {stream.name}")


class Stream:
    """A queue of a GPU that says what is done with it."""

    def __init__(self, *_, name="copies"):
        self.name = name

    def wait_stream(self, stream):
        OnGPU.events.append(f"{self.name} wait for {stream.name}")


def test_a_batch_is_copied_beside_the_steps_which_wait_for_it(monkeypatch):
    @contextlib.contextmanager
    def inside(stream):
        OnGPU.events.append(f"in {stream.name}")
        yield
        OnGPU.events.append("out")

    def copy(batch, _):
        OnGPU.events.append("copy")
        return {name: value.as_subclass(OnGPU) if torch.is_tensor(value) else value for name, value in batch.items()}

    monkeypatch.setattr(OnGPU, "events", [])
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: Stream(name="steps"))
    monkeypatch.setattr(device, "to_device", copy)
    copied = BatchCopier(GPU)({"x": torch.ones(2), "errors": []})
    expected = ["in copies", "copy", "out", "steps wait for copies", "memory waits for steps"]
    assert OnGPU.events == expected and copied["errors"] == []


def test_on_a_cpu_a_batch_stays_where_it_is():
    batch = batch_of(0)
    copied = BatchCopier(CPU)(batch)
    assert all(copied[name] is value for name, value in batch.items())
