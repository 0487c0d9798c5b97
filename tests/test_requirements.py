"""Requirements, constraints and the installation that make runs agree with each other."""

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
UNPINNED = {"yt-dlp"}  # must stay up to date


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return {requirement.name.lower().replace("_", "-"): requirement for requirement in found}


@pytest.mark.parametrize("name", sorted(requirements("requirements.txt")))
def test_the_tested_version_of_each_requirement_is_within_its_bounds(name):
    required, pinned = requirements("requirements.txt")[name], requirements("constraints.txt")
    if name in UNPINNED:
        assert name not in pinned
    else:
        (version,) = pinned[name].specifier
        assert version.operator == "==" and required.specifier.contains(version.version)


def install_commands(*arguments):
    command = ["make", "--dry-run", "--always-make", *arguments, ".venv/ready"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if " pip install " in line]


def test_make_installs_the_requirements_within_the_tested_versions():
    (line,) = install_commands()
    assert "--constraint constraints.txt" in line and "-r requirements.txt" in line


def test_make_for_a_cpu_installs_torch_from_the_index_without_cuda_first():
    torch, rest = install_commands("CPU=1", "CPU_WHEELS=https://wheels.example/cpu")
    assert " torch torchvision " in torch and "--index-url https://wheels.example/cpu" in torch
    assert "--constraint constraints.txt" in torch and "--index-url" not in rest
