"""Downloads on the machines of a cluster: the same clips, tables and summary as on one machine."""

import json

import pytest
from downloads import check_whole, classes, clips_on_disk, names, segment_file, started, words

import data.download_video_audio as script
from data.download import cluster_workers
from dataset.making.workers.processes import map_in_processes
from dataset.making.workers.ray_cluster import RayCluster


class TwoProcesses(RayCluster):
    """In the place of two machines: two processes of this one."""

    def __init__(self):
        self.is_stopped = False

    def map(self, function, jobs, chunk_size, time_limit):
        return map_in_processes(function, jobs, 2, chunk_size, time_limit)

    def stop(self):
        self.is_stopped = True


@pytest.fixture
def cluster(monkeypatch):
    made = TwoProcesses()
    monkeypatch.setattr(script, "read_engine", lambda args, **options: made)
    monkeypatch.setattr(cluster_workers, "PART_SEGMENTS", 5)
    return made


def test_parts_of_a_list_become_the_clips_of_the_list(site, out, tmp_path, cluster, capsys):
    videos = names(12)
    site.faults = {videos[3]: 404}
    listed = segment_file(tmp_path, videos)
    script.main(words(listed, out, site.url, "--workers", 2))
    there = set(videos) - {videos[3]}
    check_whole(out, there, tmp_path)
    assert classes(out) == {videos[3]: "gone"} and "11 of 12 clips exist" in capsys.readouterr().out
    assert cluster.is_stopped

    asked = len(site.requests)
    script.main(words(listed, out, site.url))  # all there is: nothing is asked for again
    assert len(site.requests) == asked


def test_segments_are_cut_and_what_a_lost_machine_has_done_is_not_done_again(site, out, tmp_path, cluster, monkeypatch):
    videos = names(4)
    listed = segment_file(tmp_path, videos)
    more = ("--seconds", 1)
    script.main(words(listed, out, site.url, *more))
    assert len(clips_on_disk(out)[0]) == 8

    # The same part again, from events as they were before: as after the death of the machine that did it.
    args = script.parse_arguments(words(listed, out, site.url, *more), "")
    plan, asked = script.read_plan(args), len(site.requests)
    settings = script.DownloadSettings(
        url=site.url, mode="full", height=64, fps=10, workers=2, sleep=0, rate=0, cookies=None, proxy=None, retries=0,
        backoff=0, timeout=5, min_free=0,
    )  # fmt: skip
    outcomes, reason = cluster_workers.download_part(out, plan, {}, 0, settings)
    assert sorted(outcomes) == [(name, "done") for name in sorted(plan.segments)] and reason is None
    assert len(site.requests) == asked


def test_a_site_that_refuses_stops_all_machines(site, out, tmp_path, cluster, capsys):
    videos = names(30)
    site.faults = {videos[0]: (429, 1)}
    with pytest.raises(SystemExit) as end:
        script.main(words(segment_file(tmp_path, videos), out, site.url, "--workers", 1))
    assert end.value.code == 1 and "error: stopped by 'throttled'" in capsys.readouterr().err
    assert len(site.requests) < 20 and set(clips_on_disk(out)[0]) == set(clips_on_disk(out)[1])


@pytest.mark.slow
def test_a_download_on_a_ray_cluster_goes_on_where_a_machine_was_killed(site, out, tmp_path, ray_cluster):
    node = ray_cluster.add_node(**ray_cluster.small)
    videos = names(3 * cluster_workers.PART_SEGMENTS)
    listed = segment_file(tmp_path, videos)
    process = started(listed, out, site.url, "--engine", "ray", "--address", ray_cluster.address)
    while len(list(out.glob("video/*.mp4"))) < 20:
        assert process.poll() is None
    ray_cluster.remove_node(node, allow_graceful=False)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"{len(videos)} of {len(videos)} clips exist" in printed
    check_whole(out, videos, tmp_path)
    events = [json.loads(line) for line in (out / ".download" / "journal.jsonl").read_text().splitlines()]
    done = [event["id"] for event in events if event["class"] == "done"]
    assert len(done) - len(set(done)) <= 4  # what the machine was working on is all that is done twice
    assert "Traceback" not in errors
