"""The page of search.py: a Flask app for one person on the same machine, or a few in the same network.

Rows and queries are addressed by numbers, jobs by random ids, never by file names. Another site can neither read an
answer (no CORS, and a Host that is a name is refused, so that no DNS name can be pointed at this server) nor send a
file (Origin is checked).
"""

import io
import ipaddress
import secrets
import socket
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask
from PIL import Image
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from collection.job_routes import add_job_routes
from collection.job_runners import QUERY_SECONDS
from collection.jobs import Jobs
from collection.query import RefusedUpload
from collection.search_index import SearchIndex
from dataset.reading.errors import MediaError
from dataset.reading.wav import wav_bytes
from utils.errors import UserError

TEMPLATES = Path(__file__).parent / "templates"
MEGABYTE = 2**20
MAX_UPLOAD = 32 * MEGABYTE  # bytes
MAX_FORM_OVERHEAD = 2**14  # bytes of a request beside the file: boundaries, the file's name
IDLE_TIMEOUT = 30  # seconds after which a silent connection is closed
JPEG_QUALITY = 85
RECORD_SECONDS = 3  # of the button that records a query, at least
NOT_THERE = "there is no such image, sound or result; results are removed after a time: send the file again"

Reply = tuple[dict[str, Any], int]  # JSON and HTTP status


def make_app(jobs: Jobs, title: str, max_upload: int = MAX_UPLOAD, index: SearchIndex | None = None) -> flask.Flask:
    """Create the Flask app.

    Args:
        jobs: do all work on uploads; their tasks are the page's tabs.
        title: what the page has, for its header.
        max_upload: largest upload, bytes.
        index: that the jobs search; None: they search nothing.
    """
    app = flask.Flask(__name__, template_folder=str(TEMPLATES), static_folder=None)
    # Flask's limit of MAX_FORM_MEMORY_SIZE stays: it must exceed the blocks of 64 KiB in which a file arrives.
    app.config.update(MAX_CONTENT_LENGTH=max_upload + MAX_FORM_OVERHEAD, MAX_FORM_PARTS=4)
    app.before_request(refuse_other_sites)
    app.after_request(_set_security_headers)

    @app.get("/")
    def page() -> str:
        flask.g.nonce = secrets.token_urlsafe(16)
        seconds = max(RECORD_SECONDS, ceil(index.seconds)) if index else 0  # at least what the net takes
        return flask.render_template(
            "page.html",
            title=title,
            nonce=flask.g.nonce,
            max_upload=max_upload,
            record_seconds=seconds,
            query_seconds=QUERY_SECONDS,
            tabs=jobs.tasks,
            longest=jobs.limits.longest,
        )

    def save_upload(path: Path) -> None:
        upload = flask.request.files.get("file")
        if upload is None:
            flask.abort(400, "no file was sent: send one in the form field `file`")
        upload.save(path)
        if not path.stat().st_size:
            flask.abort(400, "the file is empty")
        if path.stat().st_size > max_upload:
            flask.abort(413, _too_large(max_upload))

    add_job_routes(app, jobs, save_upload)
    if index:
        _add_search_routes(app, jobs, index)
    app.register_error_handler(HTTPException, lambda error: _http_error(error, max_upload))
    app.register_error_handler(LookupError, lambda _: ({"error": NOT_THERE}, 404))
    app.register_error_handler(UserError, _user_error)
    app.register_error_handler(OSError, _disk_error)
    return app


def _add_search_routes(app: flask.Flask, jobs: Jobs, index: SearchIndex) -> None:
    """Add the addresses of what a search has found: images and sounds of the collection, and maps of the query."""

    @app.get("/image/<int:row>.jpg")
    def image(row: int) -> flask.Response:
        return _jpeg(index.media.image(row))

    @app.get("/sound/<int:row>.wav")
    def sound(row: int) -> flask.Response:
        return _cached(wav_bytes(index.media.sound(row)), "audio/wav")

    @app.get("/jobs/<job_id>/map.jpg")
    @app.get("/jobs/<job_id>/map/<any(image, sound):side>/<int:row>.jpg")
    def localization_map(job_id: str, **options: Any) -> flask.Response:
        source = jobs.find(job_id).map_source
        if source is None:
            raise LookupError
        return _jpeg(index.draw_map(source, **options))


def _user_error(error: UserError) -> Reply:
    """A refused upload, or a file of the collection that can't be read any more."""
    if isinstance(error, RefusedUpload):
        return {"error": str(error)}, error.status
    message = f"the file {error.reason}" if isinstance(error, MediaError) else str(error)  # without its path
    return {"error": message}, 404


def _disk_error(error: OSError) -> Reply:
    """A full disk, most of all: an upload is stored in TMPDIR while it is read."""
    return {"error": f"the server can't store or read a file ({error.strerror or type(error).__name__})"}, 507


def _http_error(error: HTTPException, max_upload: int) -> Reply:
    if error.code == 413 and (flask.request.content_length or 0) > max_upload:
        return {"error": _too_large(max_upload)}, 413
    return {"error": error.description}, error.code or 500


def _too_large(max_upload: int) -> str:
    return f"the file is too large: the limit is {max_upload / MEGABYTE:.3g} MB (search.py --largest)"


def refuse_other_sites() -> None:
    """Abort a request with 403 if its Host is a name other than localhost, or if a page of another site sends it."""
    host = urlsplit(f"//{flask.request.host}").hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            flask.abort(403, "this page answers requests to localhost or to an IP address only")
    origin = flask.request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != flask.request.host:
        flask.abort(403, "this page answers no requests from other sites")


def _set_security_headers(response: flask.Response) -> flask.Response:
    nonce = flask.g.get("nonce", "")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _jpeg(image: Image.Image) -> flask.Response:
    image.save(content := io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
    return _cached(content.getvalue(), "image/jpeg")


def _cached(content: bytes, mimetype: str) -> flask.Response:
    return flask.Response(content, mimetype=mimetype, headers={"Cache-Control": "private, max-age=3600"})


class _Handler(WSGIRequestHandler):
    timeout = IDLE_TIMEOUT

    def log_request(self, *_: Any) -> None:
        """Log nothing: searches are private."""


def create_server(app: flask.Flask, host: str, port: int) -> BaseWSGIServer:
    """Create a threaded HTTP server; call its `serve_forever()`.

    Args:
        app: to serve.
        host: address to listen on.
        port: 0 picks a free one; the server's `port` says which.

    Raises:
        OSError: the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        return make_server(host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())
