"""An embedded collection, a page that searches it, and a browser."""

import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import make_clip, numbered, small_checkpoint, tone, write_sound, write_video
from PIL import Image

import embed
from collection import storage
from collection.jobs import JobLimits, Jobs
from collection.sandbox import Sandbox
from collection.search_index import open_search_index
from collection.server import create_server, make_app
from configs import demo_PixelPlayer
from models import build_net
from utils import checkpoint
from utils.config import CONFIG_VERSION, override, to_dict


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of an embedded collection (six clips, an image and a sound); emb.npz lies beside it."""
    root = tmp_path_factory.mktemp("search") / "files"
    for k in range(6):
        blocks = np.random.default_rng(k).integers(0, 255, (3, 4, 3), np.uint8)
        pictures = [np.kron(blocks, np.ones((16, 16, 1), np.uint8))] * 20
        sound = tone(2, 8000, 150 * 1.5**k, overtones=1 + k % 4)
        make_clip(root, f"clip{k}", fps=10, rate=8000, pictures=pictures, sound=sound, aac=True)
    Image.fromarray(numbered(777)).save(root / "<img src=x onerror=alert(1)>.png")
    write_sound(root / "song.wav", np.tile(np.random.default_rng(0).uniform(-0.3, 0.3, 8000), 2), 8000)
    net = small_checkpoint(root.parent / "best.pt", **{"model.name": "AVOLNet"})
    embed.main(["--checkpoint", str(net), "--input", str(root), "--out", str(root.parent / "emb")])
    return root


@pytest.fixture(scope="module")
def start_page(folder):
    """Start a page, `start_page(max_upload, name="emb")`, that searches a collection beside `folder`; gives its URL."""
    ends = []

    def start(max_upload, name="emb"):
        index, sandbox = open_search_index(storage.load_collection(folder.parent / f"{name}.npz")), Sandbox()
        jobs = Jobs({}, sandbox, index=index)
        app = make_app(jobs, "8 files", max_upload, index)
        running = create_server(app, "127.0.0.1", 0)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        ends.extend([running.shutdown, jobs.close, sandbox.close])
        return f"http://127.0.0.1:{running.port}"

    yield start
    for end in ends:
        end()


def pixel_checkpoint(path):
    """Write best.pt of a small PixelPlayer, untrained, of which every pixel gets much of the sound."""
    sizes = {"model.width": 4, "model.sound_width": 4, "model.detail": False, "data.frame_size": 64}
    config = override(demo_PixelPlayer.config, sizes | {"data.resize_size": 64, "train.precision": "fp32"})
    torch.manual_seed(1)
    net = build_net(config.model)
    torch.nn.init.constant_(net.synthesizer.bias, 1.0)
    content = {"config": to_dict(config), "config_version": CONFIG_VERSION, "model": net.state_dict()}
    checkpoint.save(path, content | {"ema": None, "step": 0, "metrics": {}})
    return path


@pytest.fixture(scope="session")
def nets(folder):
    """Checkpoints of untrained nets: `where` of an AVOL-Net, `apart` of a PixelPlayer."""
    return {"where": folder.parent / "best.pt", "apart": pixel_checkpoint(folder.parent / "pixels.pt")}


@pytest.fixture(scope="session")
def videos(folder, nets):
    """A running page with all tabs: its `url`, a `client` of Flask, its `jobs`, `sandbox` and `max_upload`, bytes."""
    sandbox, max_upload = Sandbox(), 300_000
    index = open_search_index(storage.load_collection(folder.parent / "emb.npz"))
    jobs = Jobs({task: (str(path), {}) for task, path in nets.items()}, sandbox, JobLimits(longest=20.0), index)
    app = make_app(jobs, "8 files", max_upload, index)
    running = create_server(app, "127.0.0.1", 0)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{running.port}"
    yield SimpleNamespace(url=url, client=app.test_client(), jobs=jobs, sandbox=sandbox, max_upload=max_upload)
    running.shutdown()
    jobs.close()
    sandbox.close()


@pytest.fixture(scope="session")
def long_video(folder):
    """A video of 20 s of noise, on which every job takes a while."""
    path, generator = folder.parent / "long.mp4", np.random.default_rng(0)
    pictures = [np.kron(generator.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))] * 200
    write_video(path, pictures, 10, sound=generator.uniform(-0.3, 0.3, 160_000), rate=8000)
    return path


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    with playwright.sync_playwright() as started:
        flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
        opened = started.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()
