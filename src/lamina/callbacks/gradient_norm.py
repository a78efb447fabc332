"""How large the gradients are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.gradient_hooks import GradientHooks
from lamina.callbacks.logs import Logs


class GradientNorm(Callback):
    """Adds the norms of the gradients to the results: of all weights together, and of those of each layer.

    A batch gets `gradient_norm` (and `gradient_norm/LAYER`), an epoch the mean over its batches and, as
    `gradient_norm_max`, the largest. They are Euclidean norms before clipping, with a loss scale taken out, and stay on
    the device until someone reads them: no step waits. Put it before the callbacks that shall see them.

    It costs a hook and a norm for each weight at every batch that is measured; and
    steps run as they are written, never compiled, while the callback is there. It works with steps of your own that
    call `loss.backward()`. With several processes the norm is that of the process's own batch.

    Args:
        per_layer: whether the norms of single layers (those in `model.layers`) are added.
        every: measure one of so many batches.

    Example:
        >>> from lamina import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", loss="mse")
        >>> history = model.fit(torch.ones(4, 2), torch.ones(4, 1), verbose=0, callbacks=[GradientNorm()])
        >>> [round(norm, 4) for norm in history.history["gradient_norm"]]
        [3.4641]
    """

    keeps_logs = False
    kept = ("_seen", "_measured", "_sum", "_max")
    _forms: Mapping[str, Any] = {"_sum": (None, torch.Tensor), "_max": (None, torch.Tensor)}

    def __init__(self, per_layer: bool = False, every: int = 1) -> None:
        super().__init__()
        self.per_layer = per_layer
        self.every = every
        self._measuring = False
        self._hooks = GradientHooks()
        self._norms: list[torch.Tensor | None] = []
        self._forget()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Watch the gradients."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        places = {id(weight): place for place, weight in enumerate(weights)}
        self._names = ["gradient_norm"]
        rows = [torch.ones(len(weights))]
        for layer in self.model.layers if self.per_layer else ():
            mine = [places[id(weight)] for weight in layer.parameters() if id(weight) in places]
            if mine:
                self._names.append(f"gradient_norm/{layer.name}")
                rows.append(torch.zeros(len(weights)).index_fill(0, torch.tensor(mine), 1.0))
        self._groups = torch.stack(rows)
        self._hooks.attach(self.model, ((weight, self._hook(place)) for place, weight in enumerate(weights)))

    def _hook(self, place: int) -> Callable[[torch.Tensor], None]:
        def measure(weight: torch.Tensor) -> None:
            if self._measuring and weight.grad is not None:
                self._norms[place] = torch.linalg.vector_norm(weight.grad.detach(), dtype=torch.float32)

        return measure

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        self._forget()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Measure this batch, or not."""
        self._measuring = self._seen % self.every == 0
        self._seen += 1
        self._norms = [None] * self._groups.shape[1]
        if self._measuring:
            one = torch.ones(())
            scale = self.model.optimizer.scale_loss(one) if hasattr(self.model.optimizer, "scale_loss") else one
            self._scale = None if scale is one else scale.clone()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Add the norms of this batch."""
        found = [norm for norm in self._norms if norm is not None]
        if not found:
            return
        zero = torch.zeros_like(found[0])
        self._groups = self._groups.to(zero.device)
        squares = torch.stack([zero if norm is None else norm for norm in self._norms]).square()
        norms = (self._groups @ squares).sqrt()
        if self._scale is not None:
            norms = norms / self._scale.to(norms.device)
        self._sum = norms if self._sum is None else self._sum.to(norms) + norms
        self._max = norms[0] if self._max is None else torch.maximum(self._max.to(norms), norms[0])
        self._measured += 1
        if isinstance(logs, Logs):
            logs.add(dict(zip(self._names, norms, strict=True)))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the means, and the largest."""
        if logs is not None and self._sum is not None and self._max is not None:
            means, largest = (self._sum / self._measured).tolist(), float(self._max)
            logs.update(zip(self._names, means, strict=True))
            logs["gradient_norm_max"] = largest

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Watch no longer."""
        self._hooks.remove()

    def _forget(self) -> None:
        self._seen = self._measured = 0
        self._sum: torch.Tensor | None = None
        self._max: torch.Tensor | None = None
