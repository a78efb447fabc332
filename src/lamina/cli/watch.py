"""`lamina watch`: the pages of a folder, served to this machine alone and loaded again by themselves."""

from __future__ import annotations

import functools
import html
import io
import time
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lamina.report.page import GONE, is_abandoned

_HOST = "127.0.0.1"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"


class Handler(SimpleHTTPRequestHandler):
    """Gives files of one folder, and nothing else.

    Args:
        every: seconds after which a browser loads a page again.
    """

    def __init__(self, *args: Any, every: int = 3, **kwargs: Any) -> None:
        self.every = every
        super().__init__(*args, **kwargs)

    def send_head(self) -> Any:
        """Refuse what is asked under another name, and what lies outside the folder."""
        # A page from elsewhere may have its name point here; it then asks under that name.
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        inside = Path(self.translate_path(self.path)).resolve().is_relative_to(Path(self.directory).resolve())
        if host not in (_HOST, "localhost") or not inside:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return self._abandoned() or super().send_head()

    def _abandoned(self) -> Any:
        """The page, marked, where it tells of a training whose process is gone."""
        path = Path(self.translate_path(self.path))
        if path.suffix != ".html" or not path.is_file():
            return None
        text = path.read_text("utf-8", "replace")
        return self._send(text.replace("<nav>", f"{GONE}<nav>", 1)) if is_abandoned(text) else None

    def list_directory(self, path: Any) -> Any:
        """The pages of the folder, the newest first."""
        # One may vanish meanwhile.
        pages = [(page, page.stat().st_mtime) for page in Path(path).glob("*.html") if page.is_file()]
        rows = "".join(
            f'<li><a href="{quote(page.name)}">{html.escape(page.name)}</a> '
            f"{time.strftime('%H:%M:%S', time.localtime(changed))}</li>"
            for page, changed in sorted(pages, key=lambda pair: -pair[1])
        )
        told = f"<ul>{rows}</ul>" if rows else "<p>No page yet. It appears here when there is one.</p>"
        text = (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>lamina watch</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<style>:root { color-scheme: light dark } body { font-family: sans-serif; margin: 1.5rem }</style></head>"
            f"<body><h1>{html.escape(Path(path).resolve().name)}</h1>{told}</body></html>"
        )
        return self._send(text)

    def _send(self, text: str) -> Any:
        page = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)

    def end_headers(self) -> None:
        """Ask for the page anew after a while."""
        if self.path.partition("?")[0].endswith((".html", "/")):
            self.send_header("Refresh", str(self.every))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def server_of(folder: Path, port: int, every: int) -> ThreadingHTTPServer:
    """The server, bound to this machine's own address; with port 0 the system chooses one.

    Args:
        folder: whose files are served.
        port: where.
        every: seconds after which a browser loads a page again.
    """
    return ThreadingHTTPServer((_HOST, port), functools.partial(Handler, directory=str(folder), every=every))


def watch_folder(folder: Path, port: int, every: int) -> None:
    """Serve a folder until Ctrl-C.

    Args:
        folder: whose files are served; made if it is not there.
        port: where.
        every: seconds after which a browser loads a page again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with server_of(folder, port, every) as server:
        print(f"{folder} is shown at http://{_HOST}:{server.server_port}/ until Ctrl-C.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
