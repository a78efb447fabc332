"""The oracle: the real keras on its torch backend, chosen before anything imports it."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
