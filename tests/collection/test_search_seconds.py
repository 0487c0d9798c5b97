"""The search page of a net that hears more than a second: data.seconds of an upload, and of a row's sound."""

import numpy as np
import pytest
from helpers import small_checkpoint, tone, write_sound

import embed
from collection import storage
from collection.jobs import Jobs
from collection.query import RefusedUpload
from collection.sandbox import Sandbox
from collection.search_index import open_search_index
from collection.server import make_app

RATE, SECONDS = 8000, 2.5


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("search_seconds")
    for k in range(3):
        write_sound(root / "files" / f"{k}.wav", tone(4, RATE, 200 * 2**k, overtones=k + 1), RATE)
    net = small_checkpoint(root / "best.pt", **{"data.seconds": SECONDS})
    embed.main(["--checkpoint", str(net), "--input", str(root / "files"), "--out", str(root / "emb")])
    return open_search_index(storage.load_collection(root / "emb.npz"))


def test_an_upload_and_a_rows_sound_last_data_seconds(index, tmp_path):
    sandbox = Sandbox()
    try:
        query = sandbox.read(index.media.root / "1.wav", index.size, index.rate, 10, index.seconds)
        assert [moment.time for moment in query.moments] == [0.5, 1.5, 2.5, 3.5]
        assert all(moment.sound.shape == (20000,) for moment in query.moments)
        nearest = index.search(query)["by"]["sound"]["sounds"]["items"][0]
        assert nearest["name"] == "1.wav" and nearest["score"] == pytest.approx(1, abs=0.02)
        write_sound(tmp_path / "short.wav", tone(2, RATE), RATE)
        with pytest.raises(RefusedUpload, match=r"too short: the net needs 2\.5 s with sound: send a longer file"):
            sandbox.read(tmp_path / "short.wav", index.size, index.rate, 10, index.seconds)
    finally:
        sandbox.close()
    for row in range(len(index.collection.times)):
        assert abs(len(index.media.sound(row)) - SECONDS * 48000) <= 6  # also at the ends of the file


def test_the_page_records_as_much_as_the_net_hears(index):
    sandbox = Sandbox()
    jobs = Jobs({}, sandbox, index=index)
    try:
        for seconds, recorded in ((7.2, 8), (SECONDS, 3)):
            index.seconds = seconds
            page = make_app(jobs, "3 files", index=index).test_client().get("/").text
            assert f"Record {recorded} seconds" in page and f"RECORD_SECONDS = {recorded};" in page
    finally:
        jobs.close()
        sandbox.close()
    assert np.isfinite(index.collection.sounds).all()
