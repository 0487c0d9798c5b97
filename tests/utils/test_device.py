"""Which device a run takes, what it says about it, and why a GPU of the machine can't be used. GPUs are pretended."""

import json

import pytest
import torch
from toy_training import config, lines, train

from configs.schema import Train
from utils import child_processes, device
from utils.device import describe_start, gpu_problem, has_kernels, installed_gpu, pick_device, start_line
from utils.run import Run

VERSION = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@a)\nGCC version: 12\n"
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretends a machine with an NVIDIA GPU and its driver, which torch can't use."""
    driver = tmp_path / "driver"
    (driver / "gpus/0000:01:00.0").mkdir(parents=True)
    (driver / "gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA H100\nIRQ: 1\n")
    (driver / "version").write_text(VERSION)
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(device, "DRIVER", driver)
    monkeypatch.setattr(device, "CONTROL_FILES", (tmp_path / "nvidiactl",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def card(monkeypatch):
    """Pretends a GPU that torch sees: (name, capability, architectures of the wheel)."""

    def pretend(name, capability, architectures):
        properties = type("Properties", (), {"total_memory": 16_000_000_000})
        for what, value in {
            "is_available": True, "get_device_name": name, "get_device_capability": capability,
            "get_arch_list": architectures, "get_device_properties": properties,
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, what, lambda *_, value=value: value)

    return pretend


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_75", "sm_80"], True),  # a minor version runs the code of an earlier one
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80", "sm_90", "compute_120"], False),  # a V100 with a wheel of CUDA 13
        ((12, 0), ["sm_80", "sm_90"], False),  # an RTX 5090 with an old wheel
        ((12, 0), ["sm_80", "compute_90"], True),  # compiled when it is loaded
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a", "compute_90a"], False),
        ((10, 3), ["sm_100f"], True),
        ((11, 0), ["sm_100f"], False),
        ((9, 0), ["gfx90a"], True),  # AMD
    ],
)
def test_whether_a_wheel_has_kernels_for_a_gpu(capability, architectures, fits):
    assert has_kernels(architectures, capability) == fits


def test_a_gpu_without_kernels_is_named_and_not_used(card):
    card("Tesla V100", (7, 0), ["sm_75", "sm_80"])
    assert pick_device() == torch.device("cpu")
    for part in ("Tesla V100", "7.0", "sm_75, sm_80", torch.__version__, "pytorch.org/get-started"):
        assert part in gpu_problem()
    card("Tesla T4", (7, 5), ["sm_75", "sm_80"])
    assert pick_device() == torch.device("cuda") and gpu_problem() == ""


def test_a_wheel_without_cuda_is_named(machine, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    for part in ("NVIDIA H100", "580.65.06", torch.__version__, "without CUDA", "pytorch.org/get-started"):
        assert part in gpu_problem()
    assert pick_device() == torch.device("cpu")


def test_a_driver_that_is_too_old_is_named(machine, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "driver 580.65.06" in gpu_problem() and "CUDA 13.0" in gpu_problem()


def test_a_container_without_the_gpu_is_named(machine):
    (machine / "nvidiactl").unlink()
    assert "docker run --gpus all" in gpu_problem()


@pytest.mark.parametrize("hidden", ["", " ", "-1", "-1,0"])
def test_a_gpu_that_is_hidden_on_purpose_is_no_problem(machine, monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu_problem() == ""


def test_a_machine_without_a_gpu_has_no_problem(machine, monkeypatch):
    monkeypatch.setattr(device, "DRIVER", machine / "nowhere")
    monkeypatch.setenv("PATH", str(machine))
    assert installed_gpu() == ("", "") and gpu_problem() == ""


def test_nvidia_smi_tells_what_the_driver_does_not(machine, monkeypatch):
    monkeypatch.setattr(device, "DRIVER", machine / "nowhere")
    monkeypatch.setenv("PATH", str(machine), prepend=":")
    tool = machine / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Tesla T4, 535.104.05'\necho 'Tesla T4, 535.104.05'\n")
    tool.chmod(0o755)
    assert installed_gpu() == ("Tesla T4", "535.104.05")
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert installed_gpu() == ("", "")


def test_the_start_is_said_and_logged(tmp_path, capsys):
    train(config(tmp_path, epochs=1))
    train(config(tmp_path), resume=True)
    first, second = lines(tmp_path, "start")
    assert (first["step"], second["step"]) == (0, 6)
    expected = {"device": "cpu", "precision": "fp32", "torch": torch.__version__, "processes": 1}
    assert expected.items() <= first.items() and first["cores"] == child_processes.own_cores()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training on the CPU")]
    assert len(said) == 2 and "fp32" in said[0] and torch.__version__ in said[0]
    train(config(tmp_path), resume=True)  # nothing is left to train
    assert len(lines(tmp_path, "start")) == 2


def test_the_start_on_a_gpu_names_the_card(card, machine, monkeypatch):
    card("Tesla T4", (7, 5), ["sm_75"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = describe_start(torch.device("cuda"), "fp16", Train())
    for name, value in {"card": "Tesla T4", "memory_gb": 16.0, "driver": "580.65.06", "cuda": "13.0"}.items():
        assert found[name] == value and str(value) in start_line(found)
    assert json.dumps(found) and "fp16" in start_line(found)


def test_a_start_that_failed_before_its_first_step_leaves_no_run(tmp_path):
    def dies(model, batch):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(config(tmp_path), step=dies)
    assert len(lines(tmp_path, "start")) == 1
    Run(config(tmp_path)).close()
    train(config(tmp_path))
    assert len(lines(tmp_path, "start")) == 1 and len(lines(tmp_path, "train")) == 12


@pytest.mark.parametrize(("limit", "cores"), [("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), (None, 8)])
def test_the_cores_of_a_process_are_those_it_may_use(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(child_processes.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(child_processes, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if limit:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    assert child_processes.own_cores() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert child_processes.own_cores() == max(cores // 2, 1)
