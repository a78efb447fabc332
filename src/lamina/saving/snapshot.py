"""A copy of a model as it is, taken at once and written later, perhaps by another thread, as a folder of shards."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.saving.archive import ASSETS, CONFIG, METADATA, SHARDS
from lamina.saving.models import describe, take_place
from lamina.saving.shards import ShardedWriter
from lamina.saving.state import save_state

SHARD_BYTES = 2 << 30


class ModelSnapshot:
    """The state of a model as it is now, in the memory of the host. Weights spread over devices are put together.

    Args:
        model: the model, built.
        weights_only: whether to leave out the architecture, the optimizer and the files that layers keep.
    """

    def __init__(self, model: Any, weights_only: bool = False) -> None:
        self.parts: dict[tuple[str, str | None], dict[str, Any]] = {}
        self.descriptions = None if weights_only else describe(model)
        self.assets = None if weights_only else tempfile.TemporaryDirectory(prefix="lamina-")
        skip = [model.optimizer] if weights_only and model.optimizer is not None else []
        save_state(model, self, None if self.assets is None else Path(self.assets.name), skip)

    def slots(self, path: str, name: str | None) -> dict[str, Any]:
        """A mapping that copies the variables of one part."""
        return self.parts.setdefault((path, name), _Copies())

    def write(self, folder: Path) -> None:
        """Write the checkpoint as a folder of shards; it takes the place of an older one when it is complete.

        Args:
            folder: the checkpoint.

        Raises:
            FileError: something else is at this path, or it cannot be written.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            if self.descriptions is not None and self.assets is not None:
                for name, text in zip((CONFIG, METADATA), self.descriptions, strict=True):
                    (scratch / name).write_text(text, encoding="utf-8")
                shutil.copytree(self.assets.name, scratch / ASSETS)
            with ShardedWriter(scratch / SHARDS, SHARD_BYTES) as writer:
                for (path, name), values in self.parts.items():
                    slots = writer.slots(path, name)
                    for key, value in values.items():
                        slots[key] = value
                writer.finish()
            scratch.chmod(0o755)
            take_place(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if self.assets is not None:
                self.assets.cleanup()


class _Copies(dict[str, Any]):
    """Values copied as they are set."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            whole: Any = getattr(value, "full_tensor", None)
            value = (value if whole is None else whole()).detach().to("cpu", copy=True)
        super().__setitem__(key, value if isinstance(value, torch.Tensor) else np.array(value))
