"""What every layer must do. A layer enters the harness by one line in a table of cases; see test_layers.py.

    LayerCase("Dense", {"units": 3}, (2, 5))

The same name and arguments make lamina's layer and Keras's, whose config tells which keys there must be.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

from lamina.core import tree
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.graph.tensor import KerasTensor
from lamina.layers.base import Layer

MODULES = (
    "core", "reshaping", "merging", "regularization", "activation", "convolution", "convolution_depthwise",
    "convolution_transpose", "pooling", "normalization", "attention", "recurrent", "recurrent_convolution", "wrappers",
    "preprocessing", "einsum_dense", "embedding_reversible", "spectral",
    "preprocessing.numeric", "preprocessing.categories", "preprocessing.audio",
    "preprocessing.image_geometry", "preprocessing.image_warping", "preprocessing.image_colour",
    "preprocessing.image_histogram", "preprocessing.image_mixing", "preprocessing.image_policies",
    "preprocessing.lookup", "preprocessing.text", "recurrent_base", "recurrent_cells", "torch_module",
)  # fmt: skip

Shape = tuple[int, ...]
POLICIES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "mixed_bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """One way to use a layer.

    Args:
        layer: the class's name, in lamina as in Keras.
        arguments: the constructor's arguments, for both.
        shape: the shape of the input with its batch, or a (nested) list of shapes for a layer of several inputs.
        label: what tells this case from others of the same layer.
        kind: "float" for normal numbers, "ids" for integers below `high`, "text" for words.
        high: the bound of ids.
        unknown: axes besides the batch that may be unknown.
        output_dtype: None if it follows the policy, else what it always is.
        keeps_mask: a mask on the input must arrive at the output (or, for a layer that makes masks, one must be there).
        input_gradient: whether a gradient reaches the input.
        weight_gradients: whether one reaches every trainable weight.
        training: the mode in which outputs are compared; noise makes training incomparable.
        policies: the dtype policies under which the layer works.
        config_extra: config keys that Keras has and lamina has not.
        frames: how many Python frames a call may add to plain torch, or None for no limit.
        compiles: whether torch.compile takes it in one graph: all but what works on text.
        exports: whether torch.export must take it, with a dynamic batch.
        tolerance: of comparisons between two ways to the same result.
        spread: whether several inputs are arguments of their own, and not one list.
        eager: for a layer that cannot be part of a traced step, words of the reason that capture must give.
        noise: why the layer draws other numbers in a graph than eagerly; only the sizes of changes are then compared.
        unsaved: for a layer without a config, words of the reason it must give.
        peerless: why Keras on torch has no such layer, for one whose config cannot be compared.
    """

    layer: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    shape: Shape | list[Any] = (2, 5)
    label: str = ""
    kind: str = "float"
    high: int = 10
    unknown: tuple[int, ...] = ()
    output_dtype: torch.dtype | None = None
    keeps_mask: bool = False
    input_gradient: bool = True
    weight_gradients: bool = True
    training: bool = False
    policies: Sequence[str] = tuple(POLICIES)
    config_extra: frozenset[str] = frozenset({"quantization_config"})
    frames: int | None = 3
    compiles: bool = True
    exports: bool = False
    tolerance: float = 1e-5
    spread: bool = False
    eager: str = ""
    noise: str = ""
    unsaved: str = ""
    peerless: str = ""

    def __str__(self) -> str:
        return f"{self.layer}-{self.label}" if self.label else self.layer

    def make(self, **extra: Any) -> Layer:
        """lamina's layer."""
        return find(self.layer)(**{**self.arguments, **extra})

    def make_peer(self, **extra: Any) -> Any:
        """Keras's layer."""
        return getattr(keras.layers, self.layer)(**{**self.arguments, **extra})

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of all inputs as a flat list."""
        return list(_flat(self.shape))

    def nest(self, values: Sequence[Any]) -> Any:
        """The values in the structure that the shapes have."""
        rest = iter(values)

        def packed(shape: Any) -> Any:
            return [packed(part) for part in shape] if isinstance(shape, list) else next(rest)

        return packed(self.shape)

    def call(self, layer: Callable[..., Any], inputs: Any, **mode: Any) -> Any:
        """The layer called with these inputs."""
        return layer(*inputs, **mode) if self.spread else layer(inputs, **mode)

    def inputs(self, seed: int = 0, batch: int | None = None, dtype: torch.dtype = torch.float32) -> Any:
        """Inputs with random values, float ones with a gradient."""
        generator = np.random.default_rng(seed)
        values = []
        for shape in self.shapes:
            shape = shape if batch is None else (batch, *shape[1:])
            if self.kind == "ids":
                values.append(torch.from_numpy(generator.integers(0, self.high, shape)))
            elif self.kind == "text":
                values.append(generator.choice(["a", "b", "a b", "c"], shape).astype(object))
            else:
                values.append(torch.from_numpy(generator.normal(size=shape)).to(dtype).requires_grad_())
        return self.nest(values)

    def symbols(self, unknown: bool) -> Any:
        """Symbolic inputs, with unknown sizes if wanted."""
        dtype = {"ids": "int64", "text": "string"}.get(self.kind, "float32")
        free = {0, *self.unknown} if unknown else set()
        return self.nest(
            [KerasTensor([None if axis in free else n for axis, n in enumerate(s)], dtype) for s in self.shapes]
        )


def _flat(shape: Any) -> Iterator[Shape]:
    if isinstance(shape, list):
        for part in shape:
            yield from _flat(part)
    else:
        yield shape


def find(name: str) -> type[Layer]:
    """lamina's layer class of that name, wherever it lives."""
    for module in MODULES:
        with contextlib.suppress(ModuleNotFoundError):
            if hasattr(found := importlib.import_module(f"lamina.layers.{module}"), name):
                return getattr(found, name)
    raise LookupError(f"no layer {name}")


def ids(cases: Sequence[LayerCase]) -> dict[str, Any]:
    """The arguments of pytest.mark.parametrize for a table."""
    names = [str(case) for case in cases]
    assert len(set(names)) == len(names), "labels must tell the cases of a layer apart"
    return {"argnames": "case", "argvalues": cases, "ids": names}


def leaves(value: Any) -> list[torch.Tensor]:
    """All tensors of a value."""
    return [leaf for leaf in tree.flatten(value) if isinstance(leaf, torch.Tensor)]


def assert_equal_outputs(first: Any, second: Any, tolerance: float = 0.0) -> None:
    """Two results have the same structure and values."""
    a, b = leaves(first), leaves(second)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)


def check_shapes(case: LayerCase) -> None:
    """The layer builds on symbolic and on real tensors, and the shapes agree, batch and all."""
    eager, known, unknown = case.make(), case.make(), case.make()
    outputs = leaves(case.call(eager, case.inputs()))
    assert eager.built
    exact = tree.flatten(case.call(known, case.symbols(unknown=False)))
    assert known.built
    assert [s.shape for s in exact] == [tuple(x.shape) for x in outputs]
    assert [s.dtype for s in exact] == [str(x.dtype).removeprefix("torch.") for x in outputs]
    assert [tuple(w.shape) for w in known.weights] == [tuple(w.shape) for w in eager.weights]
    open_ = tree.flatten(case.call(unknown, case.symbols(unknown=True)))
    for symbol, x in zip(open_, outputs, strict=True):
        assert len(symbol.shape) == x.ndim and symbol.shape[0] is None
        assert all(size in (None, found) for size, found in zip(symbol.shape, x.shape, strict=True))
    other = leaves(case.call(unknown, case.inputs(batch=7)))
    for symbol, x in zip(open_, other, strict=True):
        assert x.shape[0] == 7
        assert all(size in (None, found) for size, found in zip(symbol.shape, x.shape, strict=True))
    told = case.call(case.make().compute_output_shape, case.nest(case.shapes))
    assert [tuple(shape) for shape in _shapes_in(told)] == [tuple(x.shape) for x in outputs]


def _shapes_in(value: Any) -> list[Any]:
    if all(size is None or isinstance(size, int) for size in value):
        return [value]
    return [shape for part in value for shape in _shapes_in(part)]


def check_config(case: LayerCase) -> None:
    """The config fits into JSON, has Keras's keys, and makes an equal layer."""
    layer = case.make(name="some_name", dtype="float32")
    if case.unsaved:
        with pytest.raises(TypeError, match=case.unsaved):
            layer.get_config()
        return
    config = layer.get_config()
    text = json.dumps(config)
    class_name = case.layer
    if case.peerless:
        with pytest.raises(ImportError, match=case.peerless):
            case.make_peer()
    else:
        peer = case.make_peer(name="some_name", dtype="float32")
        peer_config, class_name = peer.get_config(), keras.saving.serialize_keras_object(peer)["class_name"]
        assert set(config) - case.config_extra == set(peer_config) - case.config_extra
        for key in set(config) - case.config_extra - {"dtype"}:
            assert _plain(config[key]) == _plain(peer_config[key]), f"config[{key!r}]"

    inputs = case.inputs()
    outputs = case.call(layer, inputs, **_mode_of(layer, case))
    for source in (config, json.loads(text)):
        twin = type(layer).from_config(copy.deepcopy(source))
        assert _plain(twin.get_config()) == _plain(config)
        _assert_twin(case, layer, twin, inputs, outputs)
    whole = serialize_keras_object(layer)
    assert whole["module"] == "keras.layers" and whole["class_name"] == class_name
    twin = deserialize_keras_object(json.loads(json.dumps(whole)))
    assert type(twin) is type(layer)
    _assert_twin(case, layer, twin, inputs, outputs)


def _plain(value: Any) -> Any:
    """A config as JSON gives it back, without what may differ: names of modules inside Keras, last digits."""
    value = json.loads(json.dumps(value, default=str))
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in ("module", "registered_name", "build_config")}
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _mode_of(layer: Layer, case: LayerCase) -> dict[str, Any]:
    return {"training": case.training} if "training" in type(layer).call.__code__.co_varnames else {}


def _assert_twin(case: LayerCase, layer: Layer, twin: Layer, inputs: Any, outputs: Any) -> None:
    case.call(twin, inputs, **_mode_of(layer, case))
    twin.set_weights(layer.get_weights())
    assert_equal_outputs(case.call(twin, inputs, **_mode_of(layer, case)), outputs, case.tolerance)


def check_policy(case: LayerCase, policy: str) -> None:
    """Outputs have the policy's compute dtype, trainable weights its variable dtype, symbolic and real alike."""
    layer = case.make(dtype=policy)
    expected = case.output_dtype or POLICIES[policy]
    for _ in range(2):
        for output in leaves(case.call(layer, case.inputs())):
            assert output.dtype is expected
            assert bool(torch.isfinite(output.float()).all())
    for symbol in tree.flatten(case.call(case.make(dtype=policy), case.symbols(unknown=True))):
        assert symbol.dtype == str(expected).removeprefix("torch.")
    for weight in layer.trainable_weights:
        assert str(weight.dtype) == f"torch.{layer.variable_dtype}"


def check_gradients(case: LayerCase) -> None:
    """A gradient reaches every trainable weight and the input; a step downhill lowers the loss."""
    layer, inputs = case.make(), case.inputs()
    mode = _mode_of(layer, case)

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        return torch.stack([(x.float() - 1).square().mean() for x in leaves(case.call(layer, inputs, **mode))]).sum()

    before = loss()
    if not case.input_gradient and not layer.trainable_weights:
        return
    before.backward()
    if case.input_gradient:
        assert all(x.grad is not None and bool(torch.isfinite(x.grad).all()) for x in leaves(inputs))
    if not case.weight_gradients or not layer.trainable_weights:
        return
    for weight in layer.trainable_weights:
        assert weight.grad is not None and bool(torch.isfinite(weight.grad).all()), weight.path
    slope = sum(float(weight.grad.square().sum()) for weight in layer.trainable_weights)
    assert slope > 0
    with torch.no_grad():
        for weight in layer.trainable_weights:
            weight -= 1e-3 * weight.grad
    after = loss()
    assert float(after.detach()) < float(before.detach())


def check_copies(case: LayerCase) -> None:
    """deepcopy, pickle, torch.save and state_dict give a layer with the same outputs and weights of its own."""
    layer, inputs = case.make(), case.inputs()
    case.call(layer, inputs)
    outputs = case.call(layer, inputs, **_mode_of(layer, case))
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(buffer, weights_only=False)]
    for twin in twins:
        assert type(twin) is type(layer)
        assert_equal_outputs(case.call(twin, inputs, **_mode_of(layer, case)), outputs, case.tolerance)
        assert [getattr(w, "path", None) for w in twin.weights] == [getattr(w, "path", None) for w in layer.weights]
        storages = {w.data_ptr() for w in layer.weights if w.numel()}
        assert not any(w.data_ptr() in storages for w in twin.weights if w.numel())
    other = case.make()
    case.call(other, inputs)
    other.load_state_dict(layer.state_dict(), strict=True)
    assert_equal_outputs(case.call(other, inputs, **_mode_of(layer, case)), outputs, case.tolerance)
    assert len(layer.state_dict()) == len(layer.weights)


def check_repeatable(case: LayerCase) -> None:
    """The first call, later ones (perhaps on a shorter way) and one without gradients agree; inputs are left alone."""
    layer, inputs = case.make(), case.inputs()
    kept = [x.detach().clone() for x in leaves(inputs)]
    mode = _mode_of(layer, case)
    results = [case.call(layer, inputs, **mode) for _ in range(3)]
    if not case.training:
        results.append(case.call(layer.eval(), inputs))
        results.append(case.call(layer, inputs))
    with torch.no_grad():
        results.append(case.call(layer, inputs, **mode))
    arrays = tree.map_structure(lambda x: x.detach().numpy() if isinstance(x, torch.Tensor) else x, inputs)
    results.append(case.call(layer, arrays, **mode))
    for result in results[1:]:
        assert_equal_outputs(result, results[0], case.tolerance)
    for x, copy_ in zip(leaves(inputs), kept, strict=True):
        assert torch.equal(x.detach(), copy_)
    empty = leaves(case.call(layer, case.inputs(batch=0), **mode))
    assert all(x.shape[0] == 0 for x in empty)


def check_mask(case: LayerCase) -> None:
    """A mask on the inputs (or made by the layer) is on the output."""
    layer, inputs = case.make(), case.inputs()
    if case.kind == "float":
        for x in leaves(inputs):
            mask = torch.ones(x.shape[:2], dtype=torch.bool)
            mask[:, -1] = False
            x._keras_mask = mask
    for _ in range(2):
        output = leaves(case.call(layer, inputs))[0]
        assert output._keras_mask.dtype is torch.bool
        assert output._keras_mask.shape == output.shape[: output._keras_mask.ndim]


@contextlib.contextmanager
def counted_frames() -> Iterator[dict[str, int]]:
    """Counts the Python frames entered, by file."""
    counts: dict[str, int] = {}

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            counts[name] = counts.get(name, 0) + 1

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield counts
    finally:
        sys.setprofile(previous)


def frames_beyond_torch(layer: Callable[..., Any], *inputs: Any) -> int:
    """How many Python frames one call takes more than an `nn.Module` with a `forward` of torch functions.

    Such a module takes three (`__call__`, its inner part, `forward`) and one for each weight it reads.
    """
    for _ in range(3):
        layer(*inputs)
    with counted_frames() as counts:
        layer(*inputs)
    module = torch.nn.Module.__call__.__code__.co_filename
    ours = sum(n for name, n in counts.items() if f"{os.sep}lamina{os.sep}" in name)
    machinery = counts.get(module, 0)
    weights = len(layer._parameters) + len(layer._buffers)  # type: ignore[attr-defined]
    return ours + machinery - 3 - weights


def check_frames(case: LayerCase) -> None:
    """A call adds few Python frames."""
    if case.frames is None:
        return
    inputs = case.inputs()
    assert frames_beyond_torch(case.make(), *(inputs if case.spread else [inputs])) <= case.frames


def check_compile(case: LayerCase) -> None:
    """torch.compile takes the layer in one graph, gradients included."""
    layer, inputs = case.make(), case.inputs()
    mode = _mode_of(layer, case)
    expected = case.call(layer, inputs, **mode)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    case.call(compiled, inputs)  # in the mode it begins with, where it may draw
    outputs = case.call(compiled, inputs, **mode)
    assert_equal_outputs(outputs, expected, case.tolerance)
    if case.input_gradient:
        sum(x.float().sum() for x in leaves(outputs)).backward()
        assert all(x.grad is not None for x in leaves(inputs))


def check_export(case: LayerCase) -> None:
    """torch.export takes the layer with a batch of any size."""
    layer, inputs = case.make(), tree.map_structure(lambda x: x.detach(), case.inputs())
    case.call(layer, inputs)
    dim = torch.export.Dim("batch")
    dynamic = case.nest([{0: dim} for _ in case.shapes])
    args, shapes = (tuple(inputs), tuple(dynamic)) if case.spread else ((inputs,), (dynamic,))
    program = torch.export.export(layer, args, dynamic_shapes=(shapes,), strict=False)
    other = tree.map_structure(lambda x: x.detach(), case.inputs(seed=1, batch=6))
    assert_equal_outputs(case.call(program.module(), other), case.call(layer, other), case.tolerance)
