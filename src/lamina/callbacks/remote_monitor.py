"""Results of epochs sent to a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np

from lamina.callbacks.base import Callback
from lamina.core.errors import warn_once

_SECONDS = 10.0


class RemoteMonitor(Callback):
    """Posts the results of each epoch to a server. One that cannot be reached is warned of once; training goes on.

    Args:
        root: the server's address.
        path: what follows it.
        field: the form's field that holds the results as JSON.
        headers: headers of the request.
        send_as_json: whether the results are the body, as JSON, instead of a form's field.

    Example:
        >>> RemoteMonitor("https://monitor.example.org", send_as_json=True).path
        '/publish/epoch/end/'

    Source: https://keras.io/api/callbacks/remote_monitor/
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send the results."""
        text = json.dumps({"epoch": epoch, **(logs or {})}, default=_plain)
        body = text if self.send_as_json else urlencode({self.field: text})
        kind = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **(self.headers or {})}
        try:
            with urlopen(Request(self.root + self.path, body.encode(), headers), timeout=_SECONDS):
                pass
        except (URLError, OSError, ValueError) as error:
            warn_once(f"RemoteMonitor cannot reach {self.root}: {error}")


def _plain(value: Any) -> Any:
    """What JSON has no name for: arrays and tensors."""
    return value.tolist() if hasattr(value, "tolist") else np.asarray(value).tolist()
