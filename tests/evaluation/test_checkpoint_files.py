"""What --checkpoint and `models.load` take beside a file: a run's folder, an address with a hash."""

import contextlib
import hashlib
import http.server
import ssl
import subprocess
import threading

import numpy as np
import pytest
import torch
from helpers import numbered, small_checkpoint

import models
from utils import checkpoint
from utils.errors import UserError

WRONG = "0" * 64


def test_a_runs_folder_is_its_best_checkpoint(tmp_path):
    net = small_checkpoint(tmp_path / "run/best.pt")
    small_checkpoint(tmp_path / "run/last.pt", seed=1)
    v = models.load(tmp_path / "run").embed_frames(numbered(5))
    torch.testing.assert_close(v, models.load(net).embed_frames(numbered(5)), rtol=0, atol=0)
    assert not torch.allclose(v, models.load(tmp_path / "run/last.pt").embed_frames(numbered(5)), atol=1e-3)


def test_the_running_average_is_loaded_not_the_raw_weights(tmp_path):
    raw, average = (checkpoint.load(small_checkpoint(tmp_path / f"{k}.pt", seed=k)) for k in (0, 1))
    checkpoint.save(tmp_path / "best.pt", {**raw, "ema": average["model"]})
    v = models.load(tmp_path / "best.pt").embed_frames(numbered(5))
    torch.testing.assert_close(v, models.load(tmp_path / "1.pt").embed_frames(numbered(5)))


def test_what_is_no_trained_net_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"folder .*empty holds no trained net, neither best.pt .*: give another one"):
        models.load(tmp_path / "empty")
    small_checkpoint(tmp_path / "early/last.pt")
    with pytest.raises(UserError, match=r"last.pt is the state of a run that has no validation yet"):
        models.load(tmp_path / "early")
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt was not written by this project"):
        models.load(tmp_path / "other.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(UserError, match=r"arrays.npz is damaged or no checkpoint|compressed archive"):
        models.load(tmp_path / "arrays.npz")
    with pytest.raises(UserError, match=r"there is no checkpoint .*missing.pt"):
        models.load(tmp_path / "missing.pt")
    with pytest.raises(UserError, match=r"there is no checkpoint .*name too long"):
        models.load("x" * 5000)
    with pytest.raises(UserError, match="a checkpoint can't be of type NoneType: give the path of its file or folder"):
        models.load(None)
    with pytest.raises(UserError, match="changes is 'fp32', but must be a dict of settings by name"):
        models.load(tmp_path / "early/last.pt", "fp32")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://example.org/best.pt", "has no hash, by which a changed or damaged file is found: give https://HOST"),
        ("https://example.org/best.pt#sha256=12ab", "has no hash"),
        (f"https://[bad/best.pt#sha256={WRONG}", "is no valid address"),
        (f"https://example.org:99999/best.pt#sha256={WRONG}", "is no valid address"),
        (f"https://user:word@example.org/best.pt#sha256={WRONG}", "can't be downloaded"),
        (f"https://example.org/the best.pt#sha256={WRONG}", "can't be downloaded"),
        (f"http://example.org/best.pt#sha256={WRONG}", "is no https address"),
        (f"ftp://example.org/best.pt#sha256={WRONG}", "is no https address"),
        ("file:///etc/passwd", "is no https address"),
        (f"https://localhost:1/best.pt#sha256={WRONG}", "can't be downloaded .*: check the address and the network"),
    ],
)
def test_addresses_that_are_refused(address, message, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=message):
        models.load(address)


@pytest.fixture
def https(tmp_path, monkeypatch):
    """An https server of the folder tmp_path/served; yields its address and the paths that it was asked for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate")
    served, asked = tmp_path / "served", []
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    yield f"https://localhost:{server.server_port}", asked
    server.shutdown()
    with contextlib.suppress(OSError):
        server.server_close()


def test_an_address_is_downloaded_once_and_checked(https, tmp_path):
    address, asked = https
    path = small_checkpoint(tmp_path / "served/best.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for _ in range(2):
        v = models.load(f"{address}/best.pt#sha256={digest.upper()}").embed_frames(numbered(5))
    torch.testing.assert_close(v, models.load(path).embed_frames(numbered(5)))
    assert asked == ["/best.pt"]
    kept = tmp_path / f"hub/checkpoints/{digest}.pt"
    kept.write_bytes(b"damaged")  # is noticed, and replaced
    models.load(f"{address}/best.pt#sha256={digest}")
    assert len(asked) == 2 and kept.read_bytes() == path.read_bytes()


def test_a_file_with_another_hash_is_not_kept(https, tmp_path):
    address, _ = https
    small_checkpoint(tmp_path / "served/best.pt")
    with pytest.raises(UserError, match=rf"best.pt has the SHA-256 [0-9a-f]{{64}}, not {WRONG}: check the address"):
        models.load(f"{address}/best.pt#sha256={WRONG}")
    assert not list((tmp_path / "hub/checkpoints").iterdir())
    with pytest.raises(UserError, match="can't be downloaded"):
        models.load(f"{address}/absent.pt#sha256={WRONG}")
