"""`lamina watch`: the files of a folder, for this machine alone."""

from __future__ import annotations

import http.client
import threading

import pytest

from lamina.cli.watch import server_of


@pytest.fixture
def ask(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "secret.txt")
    (folder / "a&b.html").write_text("<p>page</p>")
    server = server_of(folder, 0, 2)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def get(path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        told = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return told

    yield get
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_are_listed_and_loaded_again(ask):
    status, headers, text = ask("/")
    assert status == 200 and headers["Refresh"] == "2" and 'href="a%26b.html"' in text and "a&amp;b.html" in text
    status, headers, text = ask("/a%26b.html")
    assert (status, text, headers["Refresh"]) == (200, "<p>page</p>", "2")
    assert headers["Cache-Control"] == "no-store" and "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/out", "//secret.txt", "/..%2fsecret.txt"])
def test_nothing_outside_the_folder_is_given(ask, path):
    status, _, text = ask(path)
    assert status == 404 and "secret" not in text.replace("secret.txt", "")


def test_other_names_and_methods_are_refused(ask):
    assert ask("/", host="evil.example:80")[0] == 404
    assert ask("/", host="localhost:1")[0] == 200
    assert ask("/", "POST")[0] == 501


def test_it_listens_on_this_machine_alone(tmp_path):
    with server_of(tmp_path, 0, 1) as server:
        assert server.server_address[0] == "127.0.0.1"
