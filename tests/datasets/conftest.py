import contextlib
import http.server
import os
import threading

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMINA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAMINA_DATASETS", raising=False)


@pytest.fixture
def server():
    """An http server on this machine; `files` maps paths to content or to (status, headers, content)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = self.server.files.get(self.path, (404, {}, b""))
            self.server.requests.append(self.path)
            status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.files, found.requests = {}, []
        found.url = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()
