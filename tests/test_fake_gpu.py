"""Training steps and evaluations as a GPU would run them, on fake CUDA tensors: one device, no waits, few kernels.

What isn't tested: the speed, the values, and what a kernel needs for itself.
"""

import json
import re
import subprocess
import sys

import fake_gpu
import pytest
from kill_and_resume import REPOSITORY, one_thread

CASES = [f"{size}_{name}" for size in ("config", "demo") for name in fake_gpu.SCRIPTS]
EVALUATIONS = [fake_gpu.EVALUATE + case for case in CASES]
# Most operators of a step that compute, a kernel or more each. On a GPU the host starts about 100,000 a second.
MOST = {
    "config_AVENet": 400, "config_VOLNet": 345, "config_L3Net": 340, "config_AVENet_MF": 400, "config_AVENet_OF": 480,
    "config_PixelPlayer": 425, "demo_AVENet": 600, "demo_VOLNet": 730, "demo_L3Net": 540, "demo_AVENet_MF": 620,
    "demo_AVENet_OF": 670, "demo_PixelPlayer": 1130,
}  # fmt: skip
# What a line of code is found to do: (waits, operators that compute), or the error if it needs a value of the device.
KINDS = {
    "values * 2 + 1": [0, 2], "values[1:].view(3)": [0, 0], "torch.tensor([1.0], device='cuda')": [1, 1],
    "values.new_tensor([1.0])": [1, 1], "values[index]": [1, 1], "values.cpu()": [1, 1],
    "values.to('cpu', non_blocking=True)": [0, 1], "torch.linalg.inv(values.view(2, 2))": [1, 2],
    "torch._foreach_add([values, values], 1)": [0, 1], "values.sum().item()": "DataDependentOutputException",
    "bool(values.any())": "DataDependentOutputException", "values[values > 0]": "DynamicOutputShapeException",
}  # fmt: skip
CHECK = """
import json, os, sys, torch
sys.path.insert(0, "tests")
from fake_gpu import FakeTensorMode, Launches, Waits
found = {}
with FakeTensorMode():
    values, index = torch.zeros(4, device="cuda"), torch.zeros(2, dtype=torch.int64)
    for code in sys.argv[1:]:
        try:
            with Waits() as waits, Launches() as launches:
                exec(code)
            found[code] = len(waits.found), sum(launches.counts.values())
        except Exception as error:
            found[code] = type(error).__name__
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{case: what `fake_gpu.run_case` or `fake_evaluation.run_evaluation` found}, of all cases."""
    driver = fake_gpu.build_driver(tmp_path_factory.mktemp("driver"))
    env = one_thread() | ({"LD_PRELOAD": str(driver)} if driver else {})
    done = subprocess.run(
        [sys.executable, "tests/fake_gpu.py", *CASES, *EVALUATIONS],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == len(CASES) + len(EVALUATIONS), done.stderr
    return {line["case"]: line for line in lines}


@pytest.mark.parametrize("case", CASES)
def test_a_step_on_a_gpu_neither_mixes_devices_nor_waits_for_it(case, results):
    result = results[case]
    assert "error" not in result, result["error"]
    assert result["devices"] == ["cuda"]
    assert result["waits"] == []


@pytest.mark.parametrize("case", CASES)
def test_make_gpu_measures_the_steps_that_the_scripts_take(case, results):
    script, measured = results[case]["wiring"]
    assert len(script["step"]) >= 4 and measured == script


@pytest.mark.parametrize("case", CASES)
def test_a_step_starts_few_kernels(case, results):
    counts = results[case]["launches"]
    assert sum(counts.values()) < MOST[case], counts
    assert counts.get("average", 0) <= 2  # whatever the number of weights


@pytest.mark.parametrize("case", EVALUATIONS)
def test_an_evaluation_waits_for_a_gpu_only_where_a_batch_gives_its_results(case, results):
    result = results[case]
    assert "error" not in result, result["error"]
    waits = result["waits"]
    if case.endswith("PixelPlayer"):
        assert result["devices"]["features"] == ["cuda"] and waits["features"] == []  # they stay there
        parts = {"separate 1"}  # "separate 0" makes constants
    else:
        assert waits["frame vectors"] == waits["sound vectors"] == []  # of embeddings on the CPU
        parts = {"embed", "pair scores", "matching pairs", "net.embed_sounds", "net.correspondence"}
        parts |= {"maps", "net.localize"} if case.endswith("VOLNet") else set()
        parts |= set() if case.endswith("OF") else {"net.embed_frames"}
    assert {part for part, found in waits.items() if len(found) == 1} >= parts, waits
    assert all("cuda" not in result["devices"][part] for part in parts)


def test_the_documented_memory_of_a_step_is_what_its_tensors_need(results):
    if not results["config_AVENet"]["backward"]:
        pytest.skip("this torch takes no backward steps on fake CUDA tensors, where memory is largest")
    text = (REPOSITORY / "docs/many_gpus.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| configs/(config_\w+)\.py \| (\d+) \| ([\d.]+) GiB \|$", text, re.MULTILINE)
    assert {case for case, _, _ in rows} == {case for case in CASES if case.startswith("config")}
    for case, clips, gib in rows:
        assert int(clips) == fake_gpu.BATCH[case.removeprefix("config_")]
        assert float(gib) == pytest.approx(results[case]["gib"], rel=0.1), case


def test_the_checks_see_waits_and_count_what_computes():
    done = subprocess.run(
        [sys.executable, "-c", CHECK, *KINDS], cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True
    )
    assert json.loads(done.stdout) == KINDS, done.stderr
