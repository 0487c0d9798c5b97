"""The page's addresses for jobs on visitors' files: start one, follow it, cancel it, fetch its results."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask

from collection.jobs import Jobs

RESULT_FILES = re.compile(
    r"(where|energy|clusters)\.mp4|picture\.jpg|(mixture|source_\d+|pixel_\d+_\d+)\.wav|sources\.zip"
)
SaveUpload = Callable[[Path], object]


def add_job_routes(app: flask.Flask, jobs: Jobs, save_upload: SaveUpload) -> None:
    """Add the addresses to an app.

    Args:
        app: of the page.
        jobs: of its visitors.
        save_upload: writes the upload of the current request to a path, or refuses it.
    """

    @app.post("/jobs/<any(search, where, apart):task>")
    def start(task: Any) -> tuple[dict[str, Any], int]:
        if task not in jobs.tasks:
            flask.abort(404, "no net for this is loaded")
        return jobs.describe(jobs.submit(task, save_upload).id), 202

    @app.post("/jobs/<job_id>/pixel")
    def play_pixel(job_id: str) -> tuple[dict[str, Any], int]:
        try:
            x, y = (float(flask.request.form.get(name, "")) for name in ("x", "y"))
            is_inside = 0 <= x <= 1 and 0 <= y <= 1
        except ValueError:
            is_inside = False
        if not is_inside:
            flask.abort(400, "x and y must be numbers in 0..1")
        return jobs.describe(jobs.play_pixel(job_id, x, y).id), 202

    @app.get("/jobs/<job_id>")
    def describe(job_id: str) -> dict[str, Any]:
        return jobs.describe(job_id)

    @app.post("/jobs/<job_id>/cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        jobs.cancel(job_id)
        return jobs.describe(job_id)

    @app.get("/jobs/<job_id>/<name>")
    def result_file(job_id: str, name: str) -> flask.Response:
        path = jobs.find(job_id).folder / name
        if not RESULT_FILES.fullmatch(name) or not path.is_file():
            raise LookupError
        return flask.send_file(path, conditional=True)  # in parts, so that players can seek
