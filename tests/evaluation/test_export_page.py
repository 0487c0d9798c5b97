"""The page of docs/export.md that runs an export in a browser: with a stand-in for onnxruntime-web, which isn't here.

What the files compute is compared by test_export.py; here it is what the page gives to them and does with the outputs.
"""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

ROOT = Path(__file__).parents[2]
SIDE, RATE = 8, 16000

RUNTIME = """
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const mean = tensor => tensor.data.reduce((sum, value) => sum + Math.abs(value), 0) / tensor.data.length;
export const InferenceSession = { create: async address => {
  const name = (await (await fetch(address)).text()).trim();
  return { run: async feeds => {
    const [input] = Object.values(feeds);
    if (name !== "scores") (window.fed ??= []).push([name, input.type, input.dims, Array.from(input.data)]);
    if (name !== "scores") return { embeddings: mean(input), vectors: [] };
    return { correspondence: { data: [feeds.frames / 255] } };
  } };
} };
"""


@pytest.fixture(scope="module")
def page():
    """The page of the docs, opened in a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    text = re.search(r"```html\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.S)[1]
    config = {"config": {"data": {"resize_size": SIDE, "sample_rate": RATE}}}
    config["files"] = {"sounds.onnx": {"inputs": {"sounds": {"shape": ["batch", RATE]}}}}
    files = {"rank.html": text, "config.json": json.dumps(config)}
    files |= {f"{name}.onnx": name for name in ("frames", "sounds", "scores")}

    def answer(route):
        name = route.request.url.split("/")[-1]
        kind = "text/html" if name.endswith("html") else "text/javascript"
        route.fulfill(body=files.get(name, RUNTIME), content_type=kind, headers={"Access-Control-Allow-Origin": "*"})

    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, errors = opened.new_page(), []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.route("**/*", answer)
        tab.goto("http://localhost:8000/rank.html")
        yield tab
        assert errors == []
        opened.close()


def test_the_page_of_the_docs_feeds_an_export_and_ranks_pictures(page, tmp_path):
    pictures = []
    for name, value in (("dark", 30), ("light", 220), ("middle", 128)):
        Image.new("RGB", (20, 10), (value, value, value // 2)).save(tmp_path / f"{name}.png")
        pictures.append(tmp_path / f"{name}.png")
    wave = (0.5 * np.sin(np.arange(RATE) * 0.05)).astype(np.float32)
    soundfile.write(stored := io.BytesIO(), wave, RATE, "FLOAT", format="WAV")
    page.set_input_files("#pictures", pictures)
    page.set_input_files("#sound", {"name": "x.wav", "mimeType": "audio/wav", "buffer": stored.getvalue()})
    page.wait_for_function("document.querySelectorAll('#ranked li').length === 3")
    assert [line.split()[1] for line in page.locator("#ranked li").all_inner_texts()] == [
        "light.png", "middle.png", "dark.png"
    ]  # fmt: skip
    fed = {name: (kind, dims, data) for name, kind, dims, data in page.evaluate("fed")}
    kind, dims, data = fed["frames"]  # the last picture
    assert (kind, dims) == ("uint8", [1, SIDE, SIDE, 3]) and data[:6] == [128, 128, 64] * 2
    kind, dims, data = fed["sounds"]
    assert (kind, dims) == ("float32", [1, RATE])
    np.testing.assert_allclose(data, wave, atol=1e-4)
