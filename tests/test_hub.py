"""hubconf.py: `torch.hub.load` from any folder, and what it says of its dependencies."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import small_checkpoint

ROOT = Path(__file__).parent.parent
IN_ANOTHER_FOLDER = """
import sys, numpy as np, torch
with_torch = set(sys.modules)
net = torch.hub.load(sys.argv[1], "load", checkpoint=sys.argv[2], source="local")
assert net.embed_frames(np.zeros((50, 40, 3), np.uint8)).shape == (1, 16)
assert net.embed_sounds(np.random.default_rng(0).normal(size=16000) / 9, 16000).shape == (1, 16)
import hubconf
modules = {name: module for name, module in sys.modules.items() if name not in with_torch}
files = {name.partition(".")[0]: getattr(module, "__file__", None) or "" for name, module in modules.items()}
print(*sorted(name for name, file in files.items() if "site-packages" in file and not name.startswith("_")))
"""


def test_a_trained_net_by_torch_hub_from_another_folder(tmp_path):
    net = small_checkpoint(tmp_path / "best.pt")
    program = IN_ANOTHER_FOLDER.replace("import hubconf\n", "")
    words = [sys.executable, "-c", program, str(ROOT), str(net)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import hubconf

    # What else was imported: packages that those of the list bring.
    brought = {"charset_normalizer", "pathlib_abc", "cffi", "typing_extensions"}
    assert set(done.stdout.split()) <= {*hubconf.dependencies, *brought}


@pytest.mark.parametrize(
    ("name", "inputs", "shape"),
    [
        ("ave_net", ((1, 3, 224, 224), (1, 1, 257, 200)), (1, 1)),
        ("avol_net", ((1, 3, 224, 224), (1, 1, 257, 200)), (1, 1)),
        ("l3_net", ((1, 3, 224, 224), (1, 1, 257, 200)), (1, 1)),
        ("pixelplayer", ((1, 2, 3, 3, 224, 224), (1, 1, 256, 256)), (1, 2, 256, 256)),
    ],
)
def test_the_papers_nets_by_name(name, inputs, shape):
    net = torch.hub.load(str(ROOT), name, source="local").eval()
    with torch.no_grad():
        out = net(*(torch.zeros(size) for size in inputs))
    assert (out[2] if isinstance(out, tuple) else out).shape == shape


def test_the_nets_by_name_have_the_sizes_of_the_configs():
    from configs.config_AVENet import config as ave
    from configs.config_PixelPlayer import config as pixels
    from configs.config_VOLNet import config as vol
    from models import build_net

    for name, config in (("ave_net", ave), ("avol_net", vol), ("pixelplayer", pixels)):
        by_name = torch.hub.load(str(ROOT), name, source="local").state_dict()
        built = build_net(config.model).state_dict()
        assert {key: value.shape for key, value in by_name.items()} == {k: v.shape for k, v in built.items()}
