"""Training steps on fake CUDA tensors, which have shapes and a device but no values: no GPU is needed.

A program of its own, as it pretends to torch that there is a GPU: `python tests/fake_gpu.py CASE ...` prints a line of
JSON for each case, such as demo_AVENet (see `run_case`) or evaluate_demo_AVENet (see `fake_evaluation`).
"""

import contextlib
import ctypes
import importlib
import inspect
import json
import os
import subprocess
import sys
import traceback
import types
import weakref
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).parent.parent
SCRIPTS = {
    "AVENet": "train_AVENet", "VOLNet": "train_VOLNet", "L3Net": "train_AVENet", "AVENet_MF": "train_AVENet",
    "AVENet_OF": "train_AVENet", "PixelPlayer": "train_PixelPlayer",
}  # fmt: skip
EVALUATE = "evaluate_"  # begins a case that is evaluated, not trained
# Clips of a batch at full size, as many as the documentation's table of memory has.
BATCH = {"AVENet": 128, "VOLNet": 128, "L3Net": 128, "AVENet_MF": 16, "AVENet_OF": 128, "PixelPlayer": 20}
# With CUDA builds of torch, backward asks the driver whether each GPU is in use. Here is the answer: there are GPUs,
# and none is.
DRIVER = """
int fake_gpus = 0;
int _ZN3c104cuda12device_countEv(void) { return fake_gpus; }
int cuDevicePrimaryCtxGetState(int gpu, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
"""


def build_driver(folder):
    """Compile a library that answers as the driver; None if there is no compiler. It must be loaded by LD_PRELOAD."""
    path, source = folder / "libcuda.so.1", folder / "driver.c"
    source.write_text(DRIVER)
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(path), str(source)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(command, check=True, capture_output=True)
        return path
    return None


class Waits(TorchDispatchMode):
    """List what makes the host wait for the device. What needs a value of the device at once fails without this."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        tensors = [one for one in tree_leaves((args, kwargs, out)) if isinstance(one, torch.Tensor)]
        devices = {one.device.type for one in tensors}
        free = (kwargs or {}).get("non_blocking") or (name == "copy_" and True in args[2:])
        # Numbers are tensors without dimensions on the CPU: kernels take them as arguments.
        mixed = any(one.ndim and one.device.type == "cpu" for one in tensors) and "cuda" in devices
        copies = name in ("_to_copy", "copy_") and devices == {"cpu", "cuda"}
        if ((copies or mixed) and not free) or (name == "_linalg_check_errors" and "cuda" in devices):
            self.found.append(f"{place()}: {name}")
        return out


def place():
    """The line of the project that runs."""
    frame = sys._getframe(2)
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(str(ROOT)) and "site-packages" not in name and name != __file__:
            return f"{name[len(str(ROOT)) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


class Launches(TorchDispatchMode):
    """Count the operators that compute something on the device, a kernel or more each, by the part of a step."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        on_gpu = any(isinstance(t, torch.Tensor) and t.device.type == "cuda" for t in tree_leaves((args, out)))
        views = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if name == "copy_" and args[0].dtype == args[1].dtype and args[0].device == args[1].device:
            return out  # gradients of fake weights are laid out otherwise than cuDNN's, and copied
        free = ("empty", "new_empty", "detach", "_unsafe_view", "set_")
        if on_gpu and func.namespace == "aten" and not views and not name.startswith(free):
            part = part_of_step()
            self.counts[part] = self.counts.get(part, 0) + 1
        return out


class Peak(TorchDispatchMode):
    """Sum up the memory of the tensors that are alive on the device, without what kernels need for themselves.

    Args:
        tensors: that are alive already.
    """

    def __init__(self, tensors):
        super().__init__()
        self.alive, self.now, self.most = set(), 0, 0
        self.add(tensors)

    def add(self, tensors):
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                storage = tensor.untyped_storage()
                if storage._cdata not in self.alive:
                    self.alive.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)

    def free(self, number, size):
        self.alive.discard(number)
        self.now -= size

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.add(tree_leaves(out))
        return out


PARTS = {
    "dataset/transforms": "transforms", "utils/muon": "optimizers", "torch/optim": "optimizers", "models": "net",
    "utils/health": "metrics", "utils/optimizers": "average",
}  # fmt: skip


def part_of_step():
    """The part of a step that runs, by the innermost file that tells it."""
    frame = sys._getframe(2)
    while frame:
        name = frame.f_code.co_filename.removeprefix(str(ROOT) + "/")
        for start, part in PARTS.items():
            if name.startswith(start) or (start == "torch/optim" and start in name):
                return part
        if frame.f_code.co_name == "_engine_run_backward":
            return "backward"
        frame = frame.f_back
    return "rest"


class FakeEvent:
    """A moment in the queue of the fake GPU; to wait for it is an error."""

    def __init__(self, **_):
        pass

    def record(self):
        pass


class FakeStream:
    """A queue of the fake GPU."""

    def __init__(self, *_):
        pass

    def wait_stream(self, stream):
        pass


class Caught(Exception):
    """Ends a script where it would begin to train."""


def load_script(case):
    """Run a script up to its training, on the fake GPU; returns what it gives to `fit`, its config and its net."""
    size, _, name = case.partition("_")
    script, got = importlib.import_module(SCRIPTS[name]), {}
    clips = types.SimpleNamespace(ids=[], folder="val")
    data = types.SimpleNamespace(
        splits={"train": clips, "val": clips}, steps_per_epoch=9, warnings=[], use_features=lambda *_: None
    )

    def setup(argv, description, file, config_file, data_module):
        from utils.command_line import add_resume_option, parse_train_command

        config = parse_train_command(argv, description, add_resume_option, config_file, file)[1]
        run = types.SimpleNamespace(
            config=config,
            resumed=None,
            folder=Path(),
            init_from=lambda _: set(),
            log_message=print,
            keep_report=lambda _: None,
        )
        got.update(config=config, run=run)
        return config, torch.device("cuda"), data, run, None

    def fit(model, run, **rest):
        got.update(rest, model=model)
        raise Caught

    stubs = {
        "fit": fit, "setup_training": setup, "check_memory": lambda *_: None, "fixed_mixtures": lambda *_: [],
        "write_json": lambda *_: None,
    }  # fmt: skip
    for what, stub in stubs.items():
        if hasattr(script, what):
            setattr(script, what, stub)
    more = ["--train.data_dependent_init", "false"]
    more += ["--train.batch_size", str(BATCH[name])] if size == "config" else []
    more += ["--model.vision_weights", "none"] if name == "PixelPlayer" else []
    torch.nn.Module.to = lambda self, *_: self  # fake weights can't be moved, so the net is built there
    with contextlib.suppress(Caught), torch.device("cuda"):
        script.main(
            ["--config", f"configs/{case}.py", "--train.data_dependent_init", "false", "--model.init_from", "", *more]
        )
    return got


def make_batch(config):
    """A batch as the loader gives it, in the CPU's memory."""
    data, mix, size = config.data, config.mix, config.train.batch_size
    separates = config.model.name == "PixelPlayer"
    frames = mix.frames if separates else data.frames
    several = (frames,) if frames > 1 else ()
    side = data.resize_size
    batch = {
        "frames": torch.zeros(size, *several, side, side, 3, dtype=torch.uint8),
        "sounds": torch.zeros(size, mix.samples if separates else data.sample_rate, dtype=torch.int16),
        "seeds": torch.zeros(size, dtype=torch.int64), "indices": torch.zeros(size, dtype=torch.int64),
        "times": torch.zeros(size, dtype=torch.float64), "errors": [],
    }  # fmt: skip
    if data.flow != "none":
        batch["flows"] = torch.zeros(size, side, side, 2 * data.flow_fields, dtype=torch.int8)
    return batch


def allow_backward():
    """Let backward work on fake tensors where it can, see `DRIVER`; else it does nothing. Returns whether it works."""
    gpus, real = ctypes.c_int(), torch.autograd._engine_run_backward
    with contextlib.suppress(ValueError):
        gpus = ctypes.c_int.in_dll(ctypes.CDLL(None), "fake_gpus")

    class NoGPU(TorchDispatchMode):
        def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
            if func.namespace == "aten":  # the question comes before; operators should find none
                gpus.value = 0
            return func(*args, **(kwargs or {}))

    def run(*args, **kwargs):
        with NoGPU():
            gpus.value = 127
            return real(*args, **kwargs)

    torch.autograd._engine_run_backward = run
    try:
        torch.zeros(2, device="cuda", requires_grad=True).square().sum().backward()
        return True
    except RuntimeError:
        torch.Tensor.backward = lambda self: None
        return False


def wiring(model, groups, step):
    """What a training is made of: weights, learning rates, the numbers and names that its step was given."""
    given = inspect.getclosurevars(step).nonlocals
    return {
        "weights": [(name, weight.requires_grad) for name, weight in model.named_parameters()],
        "groups": [(group["lr_scale"], len(group["params"])) for group in groups],
        "step": {name: value for name, value in given.items() if isinstance(value, int | float | str)},
    }


def run_case(case):
    """Take two steps; of the second list waits and count launches.

    Returns:
        {"wiring": of the script and of `make gpu`,
        "devices": of the loss and the metrics, "waits": [line: operator], "launches": {part: number}, "gib": memory}
    """
    from evaluation.speed.gpu.step_rates import build_training
    from utils import engine

    got = load_script(case)
    run, model = got["run"], got["model"]
    with torch.device("cuda"):
        measured = build_training(run.config, torch.device("cuda"))
    wirings = [wiring(model, got["param_groups"], got["step"]), wiring(*measured)]
    trainer = engine._Trainer(
        model, run, got["param_groups"], got["batches"], got["steps_per_epoch"], got["step"], got["evaluate"],
        got["best"], None, got.get("unused_until", 0.0),
    )  # fmt: skip
    trainer._progress = lambda: 0.6
    source = iter([make_batch(run.config) for _ in range(2 * run.config.train.grad_accum_steps)])
    trainer._update(source)
    states = [values for optimizer in trainer.optimizers for values in optimizer.state.values()]
    states += [net.state_dict() for net in (trainer.model, trainer.ema_model) if net]
    with Waits() as waits, Launches() as launches, Peak(t for state in states for t in state.values()) as peak:
        trainer._update(source)
    return {
        "wiring": wirings, "waits": waits.found,
        "devices": sorted({value.device.type for value in trainer.sums.values()}),
        "launches": launches.counts, "gib": peak.most / 2**30,
    }  # fmt: skip


def main():
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False  # else autocast is off
    torch.cuda.is_bf16_supported = lambda *args, **kwargs: True
    torch.cuda.Event = FakeEvent
    torch.cuda.Stream = torch.cuda.current_stream = FakeStream
    torch.cuda.stream = contextlib.nullcontext
    torch.Tensor.record_stream = lambda self, stream: None
    torch._fused_sgd_ = lambda weights, *_, **__: torch._foreach_add_(weights, 0.0)  # the only one without a fake
    FakeTensorMode.__deepcopy__ = lambda self, memo: self  # of a net that is copied
    from fake_evaluation import run_evaluation  # imports this file

    with FakeTensorMode():
        backward = allow_backward()
        for case in sys.argv[1:]:
            try:
                result = run_evaluation(case.removeprefix(EVALUATE)) if case.startswith(EVALUATE) else run_case(case)
            except Exception:
                result = {"error": traceback.format_exc()}
            print(json.dumps({"case": case, "backward": backward, **result}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.modules["fake_gpu"] = sys.modules["__main__"]
    main()
    os._exit(0)  # taking torch down would look for the GPU
