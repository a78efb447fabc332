"""Layer: an `nn.Module` that finds out the shapes it needs, and knows how it was made."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from lamina import regularizers
from lamina.core import policies, scopes, tree
from lamina.core.capture import is_ours
from lamina.core.errors import ArgumentError, ArgumentTypeError, LaminaError, StateError, unwritten, warn_once
from lamina.core.naming import auto_name
from lamina.core.registry import builtin
from lamina.core.rematerialization import get_current_remat_mode
from lamina.core.tensors import convert_to_tensor
from lamina.core.text import as_text, gather_text, is_text
from lamina.core.tracebacks import comes_from_program, hide_frames
from lamina.graph.infer import infer
from lamina.graph.node import connect
from lamina.graph.op import any_symbolic
from lamina.graph.tensor import KerasTensor
from lamina.layers import casting
from lamina.layers.building import Buildable, is_built, once_built, owner_of, symbolic_of
from lamina.layers.input_spec import assert_input_compatibility
from lamina.layers.masks import attach_masks, loses_masks, masks_on
from lamina.layers.signature import (
    build_arguments,
    call_signature,
    refuse_constants,
    shape_of,
    tuples,
)
from lamina.layers.stateless import stateless_call


class _SetByInit:
    """Stands in the class for what `__init__` puts into the layer, and is met only where that has not run."""

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        raise StateError(
            "The layer is not initialised.",
            where=f"{owner.__name__}.__init__",
            fix="call super().__init__(**kwargs) in it, before anything else",
        )


@builtin("keras", "Layer")
class Layer(Buildable):
    """A computation with weights: write `__init__`, `build` and `call`, and use it as a Keras layer or a torch module.

    `build(input_shape)` makes weights with `add_weight`, once, at the first call; `call(inputs, ...)` computes. Output
    shapes, config, saving and dtypes follow from these. A layer begins in evaluation mode; `fit` (or `.train()`)
    switches it, and a `call` that takes `training` is told.

    Args:
        activity_regularizer: a penalty on the outputs.
        trainable: whether the weights learn.
        dtype: the dtype or dtype policy.
        autocast: whether float inputs are cast to the compute dtype.
        name: a name, unique in a model.

    Raises:
        ArgumentError: an argument is unknown.

    Example:
        >>> class Scale(Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        >>> Scale()(torch.full((1, 2), 3.0)).tolist()
        [[3.0, 3.0]]

    Source: https://keras.io/api/layers/base_layer/
    """

    training: bool
    built: bool
    _backward_hooks: Any = _SetByInit()
    _parameters: Any = _SetByInit()
    # Dtype and ranks of the inputs for which the fast way is known; under a mixed policy None and (ranks, dtype).
    _fast: tuple[Any, Any] | None

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        early = {key: value for key, value in self.__dict__.items() if key != "_arguments"}
        nn.Module.__init__(self)
        if not isinstance(trainable, (bool, np.bool_)):
            raise ArgumentError(
                "`trainable` is no boolean.",
                where=f"{type(self).__name__}(trainable=...)",
                expected="True or False",
                received=repr(trainable),
            )
        self.__dict__.update(
            training=False,
            built=False,
            name=str(name) if name is not None else auto_name(type(self).__name__),
            dtype_policy=policies.get(dtype),
            activity_regularizer=regularizers.get(activity_regularizer),
            autocast=autocast,
            input_spec=None,
            supports_masking=not is_ours(owner_of(type(self), "compute_mask")),
            _trainable=bool(trainable),
            _fast=None,
            _building=False,
            _inbound_nodes=[],
            _weight_specs={},
            _call_losses=[],
            _losses_of=None,
            _build_shapes=None,
            _tracked=set(),
        )
        if "/" in self.name:
            raise ArgumentError(
                "A layer's name has a slash, which parts the names in a path.",
                where=f"{type(self).__name__}(name=...)",
                received=repr(name),
                fix=f"name={self.name.replace('/', '_')!r}",
            )
        self._legacy_arguments(kwargs)
        self._refresh()
        for key, value in early.items():
            self._adopt(key, value)
        if (mode := get_current_remat_mode()) is not None:
            self._rematerialize(mode)

    def _build_at_init(self) -> None:
        """Count as built from the start, as a layer without weights can; not where a subclass has a `build`."""
        if not self._has_build():
            self.built = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = once_built(cls.__dict__["build"])

    def __getattr__(self, name: str) -> Any:
        """Weights, state and sublayers; while a mixed policy computes, weights in the compute dtype."""
        own = self.__dict__
        if "_parameters" in own:
            table = own["_parameters"]
            if name in table:
                return self._read_weight(name) if own["_mixed"] else table[name]
            table = own["_buffers"]
            if name in table:
                return table[name]
            table = own["_modules"]
            if name in table:
                return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _read_weight(self, name: str) -> Any:
        """A weight as `call` sees it under a mixed policy."""
        weight, spec = self._parameters[name], self._weight_specs.get(name)
        if weight is None or (spec is not None and not spec.autocast):
            return weight
        return casting.read(weight, as_variable=not is_ours(type(self)))

    # What a subclass writes.

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from real tensors."""
        raise unwritten(self, "call(self, inputs)")

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the outputs: that of the inputs, unless a layer says otherwise."""
        return previous_mask

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shape of the outputs for inputs of a shape, found by running `call` on tensors without data."""
        if type(self).call is Layer.call:
            self.call()
        layer = self if self.built else copy.deepcopy(self)
        symbolic = [layer._symbolic(tuples(shape)) for shape in args]
        named = {key.removesuffix("_shape"): layer._symbolic(tuples(shape)) for key, shape in kwargs.items()}
        outputs = layer.compute_output_spec(*symbolic, **named)
        return tree.map_structure(lambda leaf: leaf.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for symbolic inputs, as symbolic tensors that are not part of a graph."""
        self._maybe_build(args, kwargs)
        if not is_ours(owner_of(type(self), "compute_output_shape")):
            shape = self.compute_output_shape(*build_arguments(type(self), args, kwargs).values())
            return symbolic_of(shape, self.compute_dtype)
        return infer(self._compute, args, kwargs, self._where())

    # The call. `forward` is the way of a layer that is built; everything else is decided in `_call_in_general`.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `nn.Module.__call__` runs."""
        try:
            if args and not kwargs and (fast := self._fast) is not None:
                x = args[0] if len(args) == 1 else args
                if type(x) is torch.Tensor:
                    known = x.dtype is fast[0] and x.ndim == fast[1] and not hasattr(x, "_keras_mask")
                else:
                    known = (x is args or type(x) is list) and _all_known(x, fast)
                if known:
                    try:
                        return self.call(*args, training=self.training) if self._takes_training else self.call(*args)
                    except RuntimeError as error:
                        self._explain(error, args)
            return self._call_in_general(*args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    def _call_in_general(self, *args: Any, **kwargs: Any) -> Any:
        if args and not kwargs and (fast := self._fast) is not None and fast[0] is None:
            cast = self._cast_as_known(args, fast)
            if cast is not None:
                return self._call_mixed(cast)
        elif self._fast is not None and len(args) == 1 and not kwargs and _is_numbers(args[0]):
            x = convert_to_tensor(args[0], device=self._device())
            if x.dtype is self._fast[0] and x.ndim == self._fast[1]:
                return self.forward(x)
        training = self._explicit_training(args, kwargs)
        if any_symbolic(args) or (kwargs and any_symbolic(kwargs)):
            return self._call_symbolically(args, kwargs)
        if training is None:
            return self._compute(*args, **kwargs)
        with _mode(self, bool(training)):
            if self._fast is not None and kwargs.keys() == {"training"}:
                return self.forward(*args)
            return self._compute(*args, **kwargs)

    def _call_mixed(self, args: tuple[Any, ...]) -> Any:
        """The fast way of a mixed policy: nothing but weights that read as 16 bits surrounds `call`."""
        try:
            with casting.Computing(self._compute_dtype):
                return self.call(*args, training=self.training) if self._takes_training else self.call(*args)
        except RuntimeError as error:
            self._explain(error, args)

    def _cast_as_known(self, args: tuple[Any, ...], fast: tuple[Any, Any]) -> tuple[Any, ...] | None:
        """The arguments in the dtype for which the fast way was found, or None if it does not suit them."""
        ranks, dtype = fast[1]
        inputs = args[0] if len(args) == 1 and type(args[0]) is list else args
        if type(ranks) is not type(inputs) or len(ranks) != len(inputs):
            return None
        casts = self.autocast and dtype.is_floating_point
        cast = []
        for x, rank in zip(inputs, ranks, strict=True):
            if type(x) is not torch.Tensor or x.ndim != rank or hasattr(x, "_keras_mask"):
                return None
            if x.dtype is not dtype:
                if not casts or not x.is_floating_point():
                    return None
                x = x.to(dtype)
            cast.append(x)
        return tuple(cast) if inputs is args else (cast,)

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call as a node of the graph."""
        refuse_constants(type(self), args, self._where())
        self._check_inputs(args, kwargs)
        self._maybe_build(args, kwargs)
        return connect(self, args, kwargs, self.compute_output_spec(*args, **kwargs))

    def _compute(self, *args: Any, **kwargs: Any) -> Any:
        """One call on real tensors (or tensors without data) with all that may surround it."""
        signature = call_signature(type(self))
        device = self._device()
        args = tuple(self._convert(arg, device) for arg in args)
        kwargs = {key: self._convert(value, device) for key, value in kwargs.items()}
        with scopes.entry(), scopes.name_scope(self.name, caller=self):
            self._forget_losses()
            self._check_inputs(args, kwargs)
            try:
                self._maybe_build(args, kwargs)
            except Exception as error:
                self._explain(error, args or tuple(kwargs.values()))
            masks = self._masks_of(args, kwargs)
            if signature.training and kwargs.get("training") is None and "training" not in _positional(signature, args):
                kwargs["training"] = self.training
            elif not signature.training:
                kwargs.pop("training", None)
            self._pass_masks(signature, args, kwargs, masks)
            if kwargs.get("mask") is not None:
                masks = kwargs["mask"]
            try:
                plainly = not self._mixed and not casting.autocasts()
                with contextlib.nullcontext(False) if plainly else self._precision(device) as is_loose:
                    outputs = self.call(*args, **kwargs)
            except Exception as error:
                self._explain(error, args or tuple(kwargs.values()))
                raise
            if is_loose:
                outputs = tree.map_structure(lambda x: self.cast(x) if _is_float_tensor(x) else x, outputs)
            outputs = self._finish(outputs, args, masks, kwargs)
        self._learn_fast_way(args, kwargs, outputs, signature)
        return outputs

    def _convert(self, value: Any, device: torch.device) -> Any:
        """An argument as the layer wants it: arrays as tensors, floats in the compute dtype."""
        if isinstance(value, torch.Tensor):
            return self._cast_input(value)
        if isinstance(value, (list, tuple, dict)):
            return tree.map_structure(lambda leaf: self._convert_leaf(leaf, device), gather_text(value))
        return self._convert_leaf(value, device)

    def _convert_leaf(self, value: Any, device: torch.device) -> Any:
        if isinstance(value, torch.Tensor):
            return self._cast_input(value)
        if hasattr(value, "__array__") and not isinstance(value, KerasTensor):
            if is_text(value):
                return as_text(value)
            if _numeric(value):
                return self._cast_input(convert_to_tensor(value, device=device))
        return value

    def _cast_input(self, x: torch.Tensor) -> torch.Tensor:
        if self.autocast and x.is_floating_point() and x.dtype is not self._compute_dtype:
            cast = x.to(self._compute_dtype)
            if hasattr(x, "_keras_mask"):
                cast._keras_mask = x._keras_mask  # type: ignore[attr-defined]
            return cast
        return x

    def cast(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor in the layer's compute dtype."""
        return x if x.dtype is self._compute_dtype else x.to(self._compute_dtype)

    @contextlib.contextmanager
    def _precision(self, device: torch.device) -> Iterator[bool]:
        """What the policy asks for around a call; tells whether the dtypes of its outputs are left to torch."""
        is_loose = self._mixed and casting.holds_other_weights(self, is_ours(type(self)))
        with contextlib.ExitStack() as stack:
            if self._mixed:
                stack.enter_context(casting.Computing(self._compute_dtype))
            if is_loose or casting.autocasts():
                stack.enter_context(casting.autocasting(device, self._compute_dtype if is_loose else None))
            if is_loose:
                for layer in self._flatten_layers():
                    layer.__dict__["_fast"] = None  # what surrounds it now, the fast way would not see
            yield is_loose

    def _explicit_training(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The `training` argument of this call, or None."""
        if "training" in kwargs:
            return kwargs["training"]
        signature = call_signature(type(self))
        if signature.training and "training" in _positional(signature, args):
            return args[signature.names.index("training")]
        return None

    def _check_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.input_spec is not None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            assert_input_compatibility(self.input_spec, first, self._where())

    def _finish(self, outputs: Any, args: tuple[Any, ...], masks: Any, kwargs: Mapping[str, Any]) -> Any:
        """Masks and penalties after the call."""
        if self.activity_regularizer is not None:
            for output in tree.flatten(outputs):
                if _is_float_tensor(output):
                    samples = output.shape[0] if output.ndim else 1
                    self.add_loss(self.activity_regularizer(output) / max(samples, 1))
        if self.supports_masking:
            attach_masks(outputs, self.compute_mask(args[0] if args else None, masks))
        elif loses_masks(outputs, (masks, self._masks_not_passed(args, kwargs))):
            warn_once(
                f"Layer '{self.name}' ({type(self).__name__}) was given a masked input, but does not support masking "
                "and drops the mask. Set `self.supports_masking = True` in it if the mask still holds for its output."
            )
        return outputs

    def _masks_not_passed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The masks that travel with arguments of `call` which does not take them."""
        given = {**_positional(call_signature(type(self)), args), **kwargs}
        return [masks_on(value) for name, value in given.items() if f"{name}_mask" not in kwargs]

    def _masks_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The masks that travel with the first argument (with all, where `call` takes `*args`), or None."""
        if len(args) > 1 and call_signature(type(self)).variadic:
            return masks_on(list(args))
        return masks_on(args[0] if args else next(iter(kwargs.values()), None))

    def _pass_masks(self, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any) -> None:
        """Give `call` the masks it asks for."""
        positional = _positional(signature, args)
        if signature.mask and kwargs.get("mask") is None and "mask" not in positional and masks is not None:
            kwargs["mask"] = masks
        for name in signature.masks:
            value = {**positional, **kwargs}.get(name.removesuffix("_mask"))
            if kwargs.get(name) is None and name not in positional and (masks := masks_on(value)) is not None:
                kwargs[name] = masks

    def _learn_fast_way(self, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any, signature: Any) -> None:
        """From now on, calls like this one go straight from `forward` to `call`, where nothing surrounds it."""
        if self._fast is not None or not self.built or not args:
            return
        alone = len(args) == 1
        inputs: Any = args[0] if alone and type(args[0]) is list else args
        plain = (
            not casting.autocasts()
            and not (self._mixed and casting.holds_other_weights(self, is_ours(type(self))))
            and self.activity_regularizer is None
            and not any(layer._call_losses for layer in self._flatten_layers())
            and not self._makes_masks(outputs)
            and set(kwargs) <= {"training"}
            and all(type(x) is torch.Tensor and x.dtype is inputs[0].dtype for x in inputs)
            and not any(hasattr(x, "_keras_mask") for x in inputs)
            and all(is_built(module) for module in self.modules())
        )
        if plain and inputs:
            self.__dict__["_takes_training"] = signature.training
            ranks, dtype = type(inputs)(x.ndim for x in inputs), inputs[0].dtype
            plainly = (dtype, ranks[0] if alone and inputs is args else ranks)
            self.__dict__["_fast"] = (None, (ranks, dtype)) if self._mixed else plainly

    def _makes_masks(self, outputs: Any) -> bool:
        """Whether there may be a mask on the outputs although there is none on the inputs."""
        owner = owner_of(type(self), "compute_mask")
        if owner is Layer or not self.supports_masking:
            return False
        return not is_ours(owner) or any(hasattr(output, "_keras_mask") for output in tree.flatten(outputs))

    def _explain(self, error: Exception, args: tuple[Any, ...]) -> NoReturn:
        """Raise the error the inputs deserve when torch has failed on them; else say in which layer it happened."""
        if isinstance(error, LaminaError):
            raise error
        strange = [x for x in tree.flatten(args[:1]) if not isinstance(x, (torch.Tensor, KerasTensor))]
        # An error with notes was met by a layer inside, which had its say.
        is_first = is_ours(type(self)) and not hasattr(error, "__notes__") and not comes_from_program(error)
        if is_first and (strange or not args):
            raise ArgumentTypeError(
                "The layer was not called on tensors.",
                where=self._where(),
                expected="a tensor, an array of numbers, or what the layer takes of these",
                received=f"{strange[0]!r:.80}" if args else "no argument",
            ) from error
        try:
            self._check_inputs(args, {})
        except LaminaError as better:
            raise better from None
        shapes = ", ".join(str(shape_of(arg)) for arg in args)
        note = f"in {self._where()}, called on inputs of shape {shapes}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise error

    def stateless_call(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Call the layer with these values in place of its variables, which stay as they are.

        Args:
            trainable_variables: a tensor for each of `layer.trainable_variables`.
            non_trainable_variables: a tensor for each of `layer.non_trainable_variables`.
            *args: what the layer is called with.
            return_losses: whether to return the losses too.
            **kwargs: what the layer is called with.

        Returns:
            The outputs, the non-trainable variables after the call, and with `return_losses` the losses.

        Raises:
            StateError: the layer is not built.
            ArgumentError: the number of values differs from that of the variables.
        """
        outputs, state, losses = stateless_call(self, trainable_variables, non_trainable_variables, args, kwargs)
        return (outputs, state, losses) if return_losses else (outputs, state)


@contextlib.contextmanager
def _mode(layer: nn.Module, training: bool) -> Iterator[None]:
    """All modules in training or evaluation mode for a while."""
    changed = [module for module in layer.modules() if module.training != training]
    for module in changed:
        module.training = training
    try:
        yield
    finally:
        for module in changed:
            module.training = not training


def _positional(signature: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    return {} if signature.variadic else dict(zip(signature.names, args, strict=False))


def _all_known(inputs: Any, fast: tuple[torch.dtype, Any]) -> bool:
    """Whether all tensors of a list, or of several arguments, are as when the fast way was found, and have no masks."""
    dtype, ranks = fast
    if type(ranks) is not type(inputs) or len(inputs) != len(ranks):
        return False
    for x, rank in zip(inputs, ranks, strict=True):
        if type(x) is not torch.Tensor or x.dtype is not dtype or x.ndim != rank or hasattr(x, "_keras_mask"):
            return False
    return True


def _is_float_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _is_numbers(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "biufc"


def _numeric(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return getattr(dtype, "kind", "f") in "biufc"
