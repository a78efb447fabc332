"""The losses named in compile(): resolved to objects, put beside the outputs, added up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lamina import losses, metrics
from lamina.core import tree
from lamina.core.errors import ArgumentError, DataError, listing
from lamina.core.naming import to_snake_case
from lamina.training.foreign import TorchLoss, is_torch_loss
from lamina.training.outputs import Outputs, Pick

Tensor = torch.Tensor


def label_kind(y_true: Tensor, y_pred: Tensor) -> str:
    """What "accuracy" and "crossentropy" mean for labels and predictions of these shapes."""
    if y_pred.shape[-1] == 1:
        return "binary"
    if y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1):
        return "sparse_categorical"
    return "categorical"


def display_name(obj: Any) -> str:
    """The name an object, function or class goes by in logs."""
    if hasattr(obj, "name"):
        return str(obj.name)
    if hasattr(obj, "__name__"):
        return to_snake_case(obj.__name__) if isinstance(obj, type) else obj.__name__.strip("<>")
    return to_snake_case(type(obj).__name__)


def resolve_loss(identifier: Any, y_true: Tensor | None = None, y_pred: Tensor | None = None) -> Any:
    """A loss object for a name, function, class or object; "crossentropy" depends on the shapes.

    Raises:
        UnknownNameError: the name is no loss.
        ArgumentTypeError: the object cannot be called.
    """
    if identifier is None:
        return None
    found = identifier
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        if y_true is None or y_pred is None:
            return None
        found = losses.get(f"{label_kind(y_true, y_pred)}_crossentropy")
    elif is_torch_loss(identifier):
        return TorchLoss(identifier)
    elif not isinstance(identifier, losses.Loss):
        found = losses.get(identifier)
    if isinstance(found, losses.Loss):
        return found
    name = identifier if isinstance(identifier, str) else display_name(found)
    return losses.LossFunctionWrapper(found, name=name)


class CompiledLoss:
    """The sum of the losses of all outputs, each with its weight; knows the outputs after `build`.

    Args:
        loss: what compile() was given: one, or a list or dict by output names.
        loss_weights: weights likewise.
        output_names: the names of the model's outputs.

    Raises:
        ArgumentError: loss_weights of an unusable type.
        UnknownNameError: a name that is no loss.
    """

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: Sequence[str] | None = None) -> None:
        if loss_weights is not None and not isinstance(loss_weights, (list, tuple, dict, float, int)):
            raise ArgumentError(
                "loss_weights is not usable.",
                where="compile(loss_weights=...)",
                expected="a float, or a list or dict of floats",
                received=f"{loss_weights!r} ({type(loss_weights).__name__})",
            )
        _check_weights(loss_weights)
        self.given = loss
        self.given_weights = loss_weights
        self.output_names = output_names
        self.explained = False  # a reason for a loss of NaN has been given
        self.outputs: Outputs | None = None
        self.entries: list[tuple[int, Any, float | None]] = []
        self.wide: list[tuple[int, tuple[Any, ...], Any, float | None]] = []  # first output, way to the part, ...
        self.trackers: list[Any] = []
        self._only: tuple[Any, float | None] | None = None
        self._pickers: dict[Any, Pick] = {}
        for part in tree.flatten(loss):
            resolve_loss(part)

    @property
    def built(self) -> bool:
        """Whether the outputs are known."""
        return self.outputs is not None

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Put the losses beside the outputs of a call."""
        outputs = Outputs(y_pred, self.output_names)
        self.wide, wide_names = [], []
        if spans(self.given, y_pred):
            given, weights, wide_names = self._spread(outputs, y_pred)
        else:
            given = outputs.lay_out(self.given, "loss")
            weights = outputs.lay_out(self.given_weights, "loss_weights")
        used = [index for index, loss in enumerate(given) if loss is not None]
        if isinstance(self.given, Mapping) and outputs.names[0] in outputs.known:
            order = list(self.given)
            used.sort(key=lambda index: order.index(outputs.names[index]) if outputs.names[index] in order else 0)
        targets = outputs.picker(y_true, range(outputs.count) if self.wide else used)(y_true)
        predictions = outputs.pick(y_pred)
        self.entries = []
        for index in used:
            parts = given[index] if isinstance(given[index], (list, tuple)) else [given[index]]
            found = [resolve_loss(part, targets[index], predictions[index]) for part in parts if part is not None]
            if not found:
                continue
            loss = found[0] if len(found) == 1 else _Together(found)
            self.entries.append((index, loss, _factor(weights[index])))
        self.trackers = self._make_trackers(outputs, wide_names)
        self._only = self.entries[0][1:] if outputs.is_single and self.entries else None
        self._pickers = {}
        self.outputs = outputs

    def _spread(self, outputs: Outputs, y_pred: Any) -> tuple[list[Any], list[Any], list[str]]:
        """Losses and weights of single outputs; the losses of several outputs together go to `wide`; their names."""
        flat = tree.flatten(self.given)
        factors = tree.flatten(self.given_weights) if tree.is_nested(self.given_weights) else []
        factors = factors or [self.given_weights] * len(flat)
        if len(factors) != len(flat):
            raise ArgumentError(
                "loss_weights must match the number of losses.",
                where="compile(loss_weights=...)",
                expected=len(flat),
                received=len(factors),
            )
        given: list[Any] = [None] * outputs.count
        weights: list[Any] = [None] * outputs.count
        names: list[str] = []
        for place, path, start in _places(tree.pack_sequence_as(self.given, list(range(len(flat)))), y_pred):
            loss, weight, part = flat[place], factors[place], _at(y_pred, path)
            if loss is None:
                continue
            if not tree.is_nested(part):
                given[start], weights[start] = loss, weight
                continue
            self.wide.append((start, path, resolve_loss(loss), _factor(weight)))
            own = [name or str(start + i) for i, name in enumerate(outputs.names)]
            names.append("/".join(map(str, path)) or "_".join(own))
        return given, weights, names

    def _make_trackers(self, outputs: Outputs, wide: Sequence[str]) -> list[Any]:
        """A mean for each loss where there are several."""
        if len(self.entries) + len(wide) < 2:
            return []
        names: list[str] = []
        found = [(index, outputs.names[index] or loss.name) for index, loss, _ in self.entries]
        for index, own in (*found, *((start, name) for (start, *_), name in zip(self.wide, wide, strict=True))):
            name = f"{own}_loss"
            names.append(name if name not in names else f"{name}_{index}")
        return [metrics.Mean(name=name) for name in names]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor | None:
        """The weighted sum of the losses of a batch; None where no output has one."""
        if self._only is not None and isinstance(y_true, Tensor):
            loss, weight = self._only
            if isinstance(sample_weight, (list, tuple)):
                sample_weight = sample_weight[0]
            value = loss(y_true, y_pred, sample_weight)
            return value if weight is None else value * weight
        if self.outputs is None:
            self.build(y_true, y_pred)
        return self._sum(y_true, y_pred, sample_weight)

    def _sum(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Tensor | None:
        assert self.outputs is not None
        predictions = self.outputs.pick(y_pred)
        targets = self.lay_out(y_true, "y")
        weights = self.lay_out(sample_weight, "sample_weight")
        total: Tensor | None = None
        for position, (index, loss, weight) in enumerate(self.entries):
            if targets[index] is None and not tree.is_nested(y_true):
                raise DataError(
                    "There is a loss, but no target for it.",
                    where="y",
                    fix="pass y, or let the data yield (x, y); for validation, validation_data=(x, y)",
                )
            value = loss(targets[index], predictions[index], weights[index])
            if self.trackers:
                track(self.trackers[position], value, predictions[index].shape[0])
            value = value if weight is None else value * weight
            total = value if total is None else total + value
        for position, (start, path, loss, weight) in enumerate(self.wide, len(self.entries)):
            part = _at(y_pred, path)
            stop = start + len(tree.flatten(part))
            beside = weights[start]
            if tree.is_nested(sample_weight):
                beside = tree.pack_sequence_as(part, list(weights[start:stop]))
            value = loss(tree.pack_sequence_as(part, list(targets[start:stop])), part, beside)
            if self.trackers:
                track(self.trackers[position], value, predictions[start].shape[0])
            value = value if weight is None else value * weight
            total = value if total is None else total + value
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pickers": {}}

    def lay_out(self, part: Any, what: str) -> Sequence[Any]:
        """Targets or weights of samples, one for each output."""
        assert self.outputs is not None
        key = (what, type(part), len(part) if isinstance(part, (list, tuple, dict)) else part is None)
        pick = self._pickers.get(key)
        if pick is None:
            if what == "sample_weight" and isinstance(part, Tensor):
                pick = _Repeat(self.outputs.count)
            else:
                used = range(self.outputs.count) if self.wide else [entry[0] for entry in self.entries]
                pick = self.outputs.picker(part, used, what)
            self._pickers[key] = pick
        return pick(part)


def spans(loss: Any, part: Any) -> bool:
    """Whether some loss is meant for several outputs together: it stands where the outputs have a structure.

    A list beside a structure of another type holds losses of that structure as a whole, and of its parts.
    """
    if not tree.is_nested(part) or not tree.is_nested(loss):
        return False
    if isinstance(loss, Mapping):
        keys = part.keys() if isinstance(part, Mapping) else ()
        return any(spans(loss[key], part[key]) or _is_whole(loss[key], part[key]) for key in loss if key in keys)
    leaves = not any(map(tree.is_nested, loss))
    if leaves and len(loss) == len(tree.flatten(part)):
        return False
    if isinstance(part, type(loss)):
        pairs = zip(loss, part, strict=False) if isinstance(part, (list, tuple)) else ()
        return any(spans(one, own) or _is_whole(one, own) for one, own in pairs)
    return any(tree.is_nested(one) or callable(one) for one in loss) and any(map(tree.is_nested, loss))


def _is_whole(loss: Any, part: Any) -> bool:
    return callable(loss) and tree.is_nested(part)


def _places(losses: Any, part: Any, path: tuple[Any, ...] = (), start: int = 0) -> Iterator[tuple[Any, Any, int]]:
    """For each loss its value, the way to the outputs it is for, and the place of the first of these."""
    if not tree.is_nested(losses):
        yield losses, path, start
        return
    leaves = not isinstance(losses, Mapping) and not any(map(tree.is_nested, losses))
    if leaves and len(losses) == len(tree.flatten(part)):
        losses = tree.pack_sequence_as(part, list(losses))
    elif not isinstance(losses, Mapping) and not isinstance(part, type(losses)):
        for one in losses:
            yield from _places(one, part, path, start)
        return
    for key in losses if isinstance(losses, Mapping) else range(len(losses)):
        try:
            own = part[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ArgumentError(
                "A loss is for an output that the model does not have.",
                where=f"compile(loss=...), at {'/'.join(map(str, (*path, key)))}",
                expected=listing(map(str, part)) if isinstance(part, Mapping) else f"a {type(part).__name__}",
            ) from error
        first = next(i for i, (way, _) in enumerate(tree.flatten_with_path(part)) if way[:1] == (key,))
        yield from _places(losses[key], own, (*path, key), start + first)


def _at(part: Any, path: Sequence[Any]) -> Any:
    """What a path leads to."""
    for key in path:
        part = part[key]
    return part


class _Together:
    """Several losses of one output, added up."""

    def __init__(self, losses: Sequence[Any]) -> None:
        self.losses = losses
        self.name = losses[0].name

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Their sum."""
        values = [loss(y_true, y_pred, sample_weight) for loss in self.losses]
        return torch.stack(values).sum()


def _check_weights(loss_weights: Any) -> None:
    """Refuse weights that are no numbers, such as metrics in their place."""
    for weight in tree.flatten(loss_weights):
        if weight is not None and (isinstance(weight, str) or not hasattr(weight, "__float__")):
            raise ArgumentError(
                "loss_weights holds something that is no number.",
                where="compile(loss_weights=...), the third argument",
                expected="floats",
                received=repr(weight),
                fix="name the argument if these are metrics: compile(optimizer, loss, metrics=[...])",
            )


def _factor(weight: Any) -> float | None:
    if tree.is_nested(weight):
        raise ArgumentError(
            "An output has several weights of losses.",
            where="compile(loss_weights=...)",
            expected="one number",
            received=weight,
        )
    return None if weight is None else float(weight)


class _Repeat:
    """The same value for every output."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, value: Any) -> Sequence[Any]:
        return (value,) * self.count


def track(tracker: Any, value: Tensor, samples: int) -> None:
    """Add a batch's mean to a running mean, weighted by the number of samples: two additions in place."""
    value = value.detach()
    total = tracker.total
    if total.device != value.device:
        tracker.update_state(value, samples)
        return
    with torch.no_grad():
        total.add_(value, alpha=samples)
        tracker.count.add_(samples)
