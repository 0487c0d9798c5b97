"""The search page: a few routes for one person on the same machine. What it shows comes from callables.

Nothing is found by a name: rows and queries are numbers. A page of another site can neither read an answer (no CORS,
and a Host that is a name is refused, so no name can be made to point here) nor send a file (Origin is checked).
"""

import io
import ipaddress
import secrets
import socket
import tempfile
import wave
from pathlib import Path
from urllib.parse import urlsplit

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

TEMPLATES = Path(__file__).parent / "templates"
MAX_UPLOAD = 32 * 2**20  # of an upload, bytes
IDLE_TIMEOUT = 30  # a connection that sends nothing for so long is closed, seconds


def make_app(search, read, title, largest=MAX_UPLOAD):
    """The page as a Flask application.

    Args:
        search: has `ask(query)` -> dict; `picture(row)`, `map(query)` and `map(query, side, row)` -> JPEG bytes;
            `sound(row)` -> (samples,) int16 at 48 kHz; they raise LookupError where there is nothing.
        read: callable (path of an upload) -> the query for `search.ask`, or an error with `status` and a sentence.
        title: what is searched. largest: bytes of an upload.
    """
    app = flask.Flask(__name__, template_folder=str(TEMPLATES), static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=largest, MAX_FORM_PARTS=4, MAX_FORM_MEMORY_SIZE=2**16)
    app.before_request(refuse_strangers)
    app.after_request(_harden)

    @app.get("/")
    def page():
        flask.g.nonce = secrets.token_urlsafe(16)
        return flask.render_template("search.html", title=title, nonce=flask.g.nonce, largest=largest)

    @app.post("/search")
    def ask():
        upload = flask.request.files.get("file")
        if upload is None:
            flask.abort(400, "no file came: send one as the form's field `file`")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"  # our name, never the sender's
            upload.save(path)
            if not path.stat().st_size:
                flask.abort(400, "the file is empty")
            return search.ask(read(path))

    @app.get("/picture/<int:row>.jpg")
    def picture(row):
        return _kept(search.picture(row), "image/jpeg")

    @app.get("/sound/<int:row>.wav")
    def sound(row):
        return _kept(wav(search.sound(row)), "audio/wav")

    @app.get("/map/<int:query>.jpg")
    @app.get("/map/<int:query>/<any(picture, sound):side>/<int:row>.jpg")
    def drawn(query, **where):
        return _kept(search.map(query, **where), "image/jpeg")

    app.register_error_handler(HTTPException, lambda error: ({"error": _sentence(error, largest)}, error.code))
    app.register_error_handler(LookupError, lambda _: ({"error": "there is no such picture or sound"}, 404))
    app.register_error_handler(ValueError, _told)
    return app


def _told(error):
    """A mistake of the sender, or a file of the collection that can't be read any more."""
    return {"error": str(error)}, getattr(error, "status", 404)


def _sentence(error, largest):
    if error.code == 413:
        return f"the file is too large: at most {largest // 2**20} MB are taken"
    return error.description


def refuse_strangers():
    """A request whose Host is a name other than localhost, or that another site's page sends, gets a 403."""
    host = urlsplit(f"//{flask.request.host}").hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            flask.abort(403, "this page answers under an address or as localhost only")
    origin = flask.request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != flask.request.host:
        flask.abort(403, "this page takes no requests from other sites")


def _harden(response):
    nonce = flask.g.get("nonce", "")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    response.headers |= {"Cross-Origin-Resource-Policy": "same-origin"}
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _kept(content, kind):
    return flask.Response(content, mimetype=kind, headers={"Cache-Control": "private, max-age=3600"})


def wav(sound, rate=48000):
    """(samples,) int16 mono as the bytes of a wav file."""
    with wave.open(out := io.BytesIO(), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.astype("<i2").tobytes())
    return out.getvalue()


class _Handler(WSGIRequestHandler):
    timeout = IDLE_TIMEOUT

    def log_request(self, *_):
        """Nothing: what someone searches for is no one's business."""


def server(app, host, port):
    """A threaded server of the page; `serve_forever()` and `shutdown()`; `port` is its port, also of port 0.

    Raises:
        OSError: host or port can't be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        return make_server(host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())
