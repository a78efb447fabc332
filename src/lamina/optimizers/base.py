"""What every optimizer is made of: learning rate, step count, slots, clipping, decay, averaging, accumulation."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from lamina.core import config as settings
from lamina.core.capture import revive
from lamina.core.errors import ArgumentError, ShapeError, StateError, unwritten, warn_once
from lamina.core.naming import auto_name
from lamina.core.registry import builtin, maybe_scope
from lamina.core.serialization import serialize_keras_object
from lamina.core.tensors import convert_to_tensor
from lamina.core.variable import Variable
from lamina.optimizers.blocks import (
    BLOCK,
    Piece,
    Slots,
    blocks,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    copy_,
    kernels,
)
from lamina.optimizers.options import Options as Options
from lamina.optimizers.options import check_options, legacy, number
from lamina.optimizers.options import takes_options as takes_options
from lamina.optimizers.state import OptimizerState

Tensor = torch.Tensor
Number = float | Tensor


@builtin("keras.optimizers")
class Optimizer(OptimizerState):
    """Base of all optimizers.

    A subclass names its slots (`slot_groups`) and writes `rule`, which changes lists of weights in place; or it writes
    `update_step(gradient, variable, learning_rate)`, which changes one.

    Args:
        learning_rate: a number, a `LearningRateSchedule`, or a function without arguments that gives a number.
        weight_decay: if given, weights shrink by this share times the learning rate at each step.
        clipnorm: if given, each gradient is scaled so that its norm is at most this.
        clipvalue: if given, each element of a gradient is at most this in size.
        global_clipnorm: if given, all gradients are scaled so that their common norm is at most this.
        use_ema: whether to keep an exponential moving average of the weights.
        ema_momentum: how much of the average stays at each step.
        ema_overwrite_frequency: every so many steps the weights are set to their average; None for at the end only.
        loss_scale_factor: if given, the loss is multiplied by it and the gradients divided.
        gradient_accumulation_steps: if given, the weights are updated every so many steps, with the mean of the
            gradients since.
        name: its name; the class name in snake case by default.

    Raises:
        ArgumentError: an argument out of range, unknown, or at odds with another.

    Example:
        >>> class Signs(Optimizer):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         self.assign_sub(variable, learning_rate * gradient.sign())
        >>> weight = Variable([1.0, 2.0])
        >>> Signs(learning_rate=0.5).apply([torch.tensor([3.0, -4.0])], [weight])
        >>> weight.numpy()
        array([0.5, 2.5], dtype=float32)

    Source: https://keras.io/api/optimizers/
    """

    elementwise = True
    """Whether the rule treats every element for itself, so that tensors may be cut into pieces."""

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        learning_rate = legacy(learning_rate, kwargs)
        self.name = name or auto_name(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        check_options(self)
        super().__init__()
        self._excluded: tuple[list[Any], re.Pattern[str] | None] = ([], None)
        self._fusable: tuple[Any, Any, bool] = (None, None, False)
        self._own_step = type(self).update_step is not Optimizer.update_step
        self._learning_rate = learning_rate
        if not callable(learning_rate):
            self._learning_rate = self._host_variable(number(learning_rate), settings.floatx(), "learning_rate")

    # -- a step --------------------------------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """One step with pairs of (gradient, variable)."""
        pairs = list(grads_and_vars)
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
            raise ArgumentError(
                "These are no pairs.",
                where="apply_gradients(grads_and_vars)",
                expected="(gradient, variable) pairs",
                fix="apply_gradients(zip(grads, variables)), or apply(grads, variables)",
            )
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """One step.

        Args:
            grads: the gradients; None for weights that take no part.
            trainable_variables: the weights, in the order of the gradients; those of `build` by default.

        Raises:
            StateError: there are no gradients at all, or the optimizer does not know the weights.
        """
        if not len(grads):
            return
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self._apply(grads, trainable_variables)
        return self._apply(grads, trainable_variables)

    def _apply(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        parameters, gradients = self._matched(grads, variables)
        if self._overwrites:
            parameters, gradients = self._overwritten(parameters, gradients)
        if parameters:
            if self.loss_scale_factor is not None:
                gradients = list(kernels._foreach_div(gradients, self.loss_scale_factor))
            if self.gradient_accumulation_steps:
                self._accumulate(parameters, gradients)
            else:
                self._update_now(parameters, gradients)
            if self.use_ema:
                self._average()
            for parameter, constraint in self._constraints:
                parameter.copy_(constraint(parameter))
        self._iterations.add_(1)

    def _matched(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and gradients in one order, of one dtype and layout, those without a gradient left out."""
        known, checked = self._parameters, self.built
        if variables is None:
            if not self.built:
                raise without_weights(self)
            variables = known
        elif not self.built:
            self.build(list(variables))
            known = self._parameters
        if len(grads) != len(variables):
            raise ShapeError(
                "There are not as many gradients as variables.",
                where=f"optimizer '{self.name}'",
                expected=len(variables),
                received=len(grads),
                fix="give one gradient, or None, for each variable",
            )
        parameters = known
        if len(variables) != len(known) or not all(map(operator.is_, variables, known)):
            parameters = self._checked(variables)
        gradients: list[Tensor] = []
        missing = False
        for parameter, gradient in zip(parameters, grads, strict=True):
            if gradient is None:
                missing = True
                continue
            if (
                not checked
                or gradient.dtype is not parameter.dtype
                or gradient.layout is not torch.strided
                or gradient.stride() != parameter.stride()
            ):
                gradient = _like(gradient, parameter)
            gradients.append(gradient)
        if missing:
            parameters = self._with_gradients(parameters, grads)
        if self._slot_names and self._slots[self._slot_names[0]][0].device != self._parameters[0].device:
            self._follow()
        return parameters, gradients

    def _overwritten(self, parameters: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Put the "gradients" of float8's scales in the place of these; the weights that are left, and theirs.

        With accumulation it is their largest since the last update.
        """
        rest, steps = [], self.gradient_accumulation_steps
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if not getattr(parameter, "overwrite_with_gradient", False):
                rest.append((parameter, gradient))
            elif not steps:
                parameter.copy_(gradient)
            else:
                (kept,) = self.slots([parameter], "gradient_accumulator")["gradient_accumulator"]
                largest = torch.maximum(kept, gradient)
                due = ((self._iterations + 1) % steps == 0).to(parameter.device)
                parameter.copy_(torch.where(due, largest, parameter))
                kept.copy_(largest * ~due)
        return [parameter for parameter, _ in rest], [gradient for _, gradient in rest]

    def _checked(self, variables: Sequence[Any]) -> list[Tensor]:
        for variable in variables:
            if id(variable) not in self._index:
                raise StateError(
                    "The optimizer was not built for this variable.",
                    where=f"optimizer '{self.name}'",
                    received=getattr(variable, "path", None) or f"a tensor of shape {tuple(variable.shape)}",
                    fix="call compile() again after changing or sharding a model; outside of fit, make a new optimizer",
                )
        return list(variables)

    def _with_gradients(self, parameters: Sequence[Any], grads: Sequence[Any]) -> list[Tensor]:
        kept = [parameter for parameter, gradient in zip(parameters, grads, strict=True) if gradient is not None]
        if not kept:
            raise StateError(
                "No variable has a gradient.",
                where=f"optimizer '{self.name}'",
                fix="make layers in __init__, not in call(), and let nothing between weights and loss be detached",
            )
        names = [
            str(getattr(parameter, "path", None) or tuple(parameter.shape))
            for parameter, gradient in zip(parameters, grads, strict=True)
            if gradient is None
        ]
        warn_once(f"These variables have no gradient and stay as they are: {', '.join(names)}.", stacklevel=5)
        return kept

    def _update_now(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Clip, decay, and update by the rule."""
        gradients = self._clipped(gradients)
        learning_rate, step = self.learning_rate, self.iterations + 1 if self._explicit else self._step()
        if not self._explicit and not self._own_step:
            learning_rate = float(learning_rate)
        if self.weight_decay is not None:
            self._apply_weight_decay(parameters, learning_rate)
        self.update(parameters, gradients, learning_rate, step)

    def _step(self) -> int:
        """The number of this update, from 1."""
        return int(self._iterations) // (self.gradient_accumulation_steps or 1) + 1

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipnorm and self.clipnorm > 0:
            return clip_by_norm(gradients, self.clipnorm)
        if self.global_clipnorm and self.global_clipnorm > 0:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        if self.clipvalue and self.clipvalue > 0:
            return clip_by_value(gradients, self.clipvalue)
        return gradients

    def update(self, parameters: list[Tensor], gradients: list[Tensor], learning_rate: Number, step: Any) -> None:
        """Change weights and slots in place.

        Args:
            parameters: the weights.
            gradients: their gradients, already clipped, of the same dtype and layout.
            learning_rate: a number, or a tensor without axes.
            step: the number of this update, from 1: an int, or an integer tensor without axes.
        """
        if self._own_step:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                self.update_step(gradient, parameter, learning_rate)
            return
        for piece in self._pieces(parameters, gradients):
            self.rule(*piece, learning_rate, step)

    def _pieces(self, parameters: list[Tensor], gradients: list[Tensor]) -> Iterable[Piece]:
        """Weights, gradients and slots as they are, or cut into blocks."""
        slots = self.slots(parameters, *self._slot_names)
        if self._cut(parameters):
            return blocks(parameters, gradients, slots)
        return ((parameters, gradients, slots),)

    def _cut(self, parameters: list[Tensor]) -> bool:
        """Whether to go through the weights in pieces."""
        return self.elementwise and self._is_large(parameters)

    def _is_large(self, parameters: list[Tensor]) -> bool:
        """Whether the weights are more than a processor's cache holds."""
        if self._explicit or parameters[0].device.type != "cpu":
            return False
        return sum([parameter.numel() for parameter in parameters]) > BLOCK and are_plain(parameters)

    def _fuses(self, parameters: list[Tensor]) -> bool:
        """Whether torch's fused kernels may update these weights now."""
        if self._explicit or self._own_step:
            return False
        first = parameters[0]
        dtype, device, fusable = self._fusable
        if parameters is not self._parameters or first.dtype is not dtype or first.device != device:
            fusable = are_fusable(
                [
                    *parameters,
                    *(s for slot in self.slots(parameters, *self._slot_names).values() for s in slot),
                ]
            )
            if parameters is self._parameters:
                self._fusable = (first.dtype, first.device, fusable)
        return fusable

    def _follow(self) -> None:
        """Take the slots to where the weights are now."""
        for slots in self._slots.values():
            for slot, parameter in zip(slots, self._parameters, strict=True):
                if isinstance(slot, Variable) and slot.device != parameter.device:
                    slot.data = slot.data.to(parameter.device)

    def rule(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        learning_rate: Number,
        step: Any,
    ) -> None:
        """The update rule of the class: changes weights and slots in place.

        Args:
            parameters: the weights, or pieces of them.
            gradients: their gradients.
            slots: for each name of `slot_groups` the slots of these weights.
            learning_rate: a number, or a tensor without axes.
            step: the number of this update, from 1: an int, or an integer tensor without axes.
        """
        raise unwritten(self, "rule(self, ...)")

    @torch.no_grad()
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one weight and its slots in place."""
        slots = self.slots([variable], *self._slot_names)
        self.rule([variable], [gradient], slots, learning_rate, self.iterations + 1)

    # -- decay, averages, accumulation ---------------------------------------------------------------------------

    def exclude_from_weight_decay(self, var_list: Sequence[Any] | None = None, var_names: Any = None) -> None:
        """Leave some weights out of weight decay.

        Args:
            var_list: the weights themselves.
            var_names: regular expressions; weights are left out whose name contains a match.
        """
        pattern = re.compile("|".join(sorted(set(var_names)))) if var_names else None
        self._excluded = (list(var_list or ()), pattern)

    def _use_weight_decay(self, variable: Any) -> bool:
        """Whether a weight decays."""
        listed, pattern = self._excluded
        if any(variable is other for other in listed):
            return False
        return pattern is None or pattern.search(getattr(variable, "name", None) or "") is None

    @property
    def _decays_all(self) -> bool:
        return not self._excluded[0] and self._excluded[1] is None

    def _apply_weight_decay(self, variables: list[Tensor], learning_rate: Number) -> None:
        if not self._decays_all:
            variables = [variable for variable in variables if self._use_weight_decay(variable)]
        if variables and self.weight_decay is not None:
            kernels._foreach_mul_(variables, 1 - self.weight_decay * learning_rate)

    def _accumulate(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Add the gradients to those kept; at every so many steps, update with their mean."""
        steps = self.gradient_accumulation_steps or 1
        kept = self.slots(parameters, "gradient_accumulator")["gradient_accumulator"]
        kernels._foreach_add_(kept, gradients)
        if self._explicit:
            due = (self._iterations + 1) % steps == 0
            with self._only_if(due):
                self._update_now(parameters, list(kernels._foreach_div(kept, steps)))
            kernels._foreach_mul_(self._slots["gradient_accumulator"], ~due)
        elif (int(self._iterations) + 1) % steps == 0:
            self._update_now(parameters, list(kernels._foreach_div(kept, steps)))
            kernels._foreach_zero_(self._slots["gradient_accumulator"])

    @contextlib.contextmanager
    def _only_if(self, condition: Tensor) -> Iterator[None]:
        """Undo the changes made within to weights and slots, unless a condition on the device holds."""
        changing = [*self._parameters, *self._variables]
        before = [tensor.clone() for tensor in changing]
        yield
        for tensor, old in zip(changing, before, strict=True):
            tensor.copy_(torch.where(condition.to(tensor.device), tensor, old))

    def _average(self) -> None:
        """Move the averages of the weights; every so many steps, set the weights to them."""
        averages = self._slots["average"]
        done = self.iterations
        share: Any = 1 - self.ema_momentum * (done != 0)
        if self._explicit:
            for parameter, average in zip(self._parameters, averages, strict=True):
                average.lerp_(parameter, share.to(average))
        else:
            kernels._foreach_lerp_(averages, self._parameters, float(share))
        if not self.ema_overwrite_frequency:
            return
        due = (done + 1) % self.ema_overwrite_frequency == 0
        if self._explicit:
            for parameter, average in zip(self._parameters, averages, strict=True):
                parameter.copy_(torch.where(due.to(parameter.device), average, parameter))
        elif due:
            copy_(self._parameters, averages)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """At the end of training: set the weights to their moving averages, if these are kept."""
        if self.use_ema:
            with torch.no_grad():
                averages = self.slots(list(var_list), "average")["average"]
                copy_(var_list, averages)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss to take gradients of."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the learning rate as a number, a schedule as its config."""
        given = super().get_config()
        rate = self._learning_rate
        given["learning_rate"] = float(rate) if isinstance(rate, Tensor) else serialize_keras_object(rate)
        return given

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """An optimizer made from a config."""
        with maybe_scope(custom_objects):
            return cls(**revive(config))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def without_weights(optimizer: OptimizerState) -> StateError:
    """The error for gradients given to an optimizer that is not built, without their weights."""
    return StateError(
        "The optimizer does not know which weights these gradients are of.",
        where=f"optimizer '{optimizer.name}'",
        fix="pass the variables too, or call optimizer.build(variables) first",
    )


def _like(gradient: Any, parameter: Tensor) -> Tensor:
    """A gradient, which may be an array, in the dtype and memory layout of its weight."""
    if not isinstance(gradient, Tensor):
        gradient = convert_to_tensor(gradient, parameter.dtype, parameter.device)
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    if gradient.shape != parameter.shape:
        raise ShapeError(
            "A gradient does not have the shape of its weight.",
            where=getattr(parameter, "path", "optimizer.apply(grads, variables)"),
            expected=tuple(parameter.shape),
            received=tuple(gradient.shape),
            fix="give the gradients in the order of the variables",
        )
    if gradient.stride() == parameter.stride():
        return gradient.to(parameter.dtype)
    return torch.empty_like(parameter).copy_(gradient)


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether all are ordinary tensors, so that kernels may go through their memory."""
    return all(type(tensor) in (Variable, torch.nn.Parameter, Tensor) for tensor in tensors)


def are_fusable(parameters: Sequence[Tensor]) -> bool:
    """Whether torch's fused kernels take them: ordinary dense tensors of one float dtype on one CPU or GPU."""
    first = parameters[0]
    return (
        first.device.type in ("cpu", "cuda")
        and first.is_floating_point()
        and are_plain(parameters)
        and all(other.dtype is first.dtype and other.device == first.device for other in parameters)
    )
