"""A real browser, chromium without a window, that opens a page and tells what it saw: spoken to through a pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
).split()
MISSING = "no chromium here: apt install chromium, or set CHROMIUM to one"
PHONE, DESKTOP = 390, 1280
TIMEOUT = 120.0
"""Seconds after which an answer is no longer waited for."""


def chromium() -> str | None:
    """Where chromium is: what the variable CHROMIUM says, else the first that is found."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Chromium with a profile of its own, ended at the end of the `with` block.

    Attributes:
        requests: the addresses that the page asked for, without its own and those that hold their data.
        problems: what was written to the console as a warning or an error, and exceptions.
    """

    def __enter__(self) -> Browser:
        path = chromium()
        if path is None:
            raise FileNotFoundError(MISSING)
        self._home = tempfile.mkdtemp(prefix="chromium-")
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pair in (os.pipe(), os.pipe()) for end in (*pair,)]
        theirs_in, self._out, self._in, theirs_out = ends
        command = [path, *OPTIONS, f"--user-data-dir={self._home}/profile", "about:blank"]
        quiet = os.open(f"{self._home}/log", os.O_WRONLY | os.O_CREAT)
        moves = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((theirs_in, 3), (theirs_out, 4), (quiet, 1), (quiet, 2))]
        self._process = os.posix_spawn(
            path, command, {**os.environ, "HOME": self._home}, file_actions=moves, setpgroup=0
        )
        for end in (theirs_in, theirs_out, quiet):
            os.close(end)
        self._read, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.problems: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{part}.enable")
        return self

    def __exit__(self, *what: object) -> None:
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._home, ignore_errors=True)

    def open(self, page: Path, width: int = DESKTOP, dark: bool = False) -> None:
        """Load a page as a reader would see it.

        Args:
            page: the file.
            width: of the screen, in CSS pixels; a narrow one is a phone's.
            dark: whether the reader's system is dark.
        """
        self.requests, self.problems, self._url, self._loaded = [], [], page.resolve().as_uri(), False
        phone = width < 600
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844 if phone else 900,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=self._url)
        while not self._loaded:
            self._hear()
        self.tell("document.fonts.ready.then(() => 0)")

    def tell(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, which itself need not allow scripts."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def shoot(self, to: Path) -> None:
        """Write the whole page, as long as it is, to a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        to.write_bytes(base64.b64decode(shot["data"]))

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (heard := self._hear()).get("id") != self._number:
            pass
        if "error" in heard:
            raise RuntimeError(f"{method}: {heard['error']['message']}")
        return heard["result"]

    def _hear(self) -> dict[str, Any]:
        """The next message, noted if it tells something about the page."""
        until = time.monotonic() + TIMEOUT
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self._in, 1 << 20) if ready else b""
            if not more:
                log = Path(self._home, "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"chromium {'ended' if ready else 'does not answer'}: {log}")
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        heard = json.loads(message)
        self._note(heard.get("method"), heard.get("params", {}))
        return heard

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if url != self._url and not url.startswith("data:"):
                self.requests.append(url)
        elif method == "Runtime.exceptionThrown":
            self.problems.append(told["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.problems.append(" ".join(str(part.get("value", part.get("description"))) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.problems.append(told["entry"]["text"])
