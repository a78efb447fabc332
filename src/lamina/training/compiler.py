"""Steps traced to graphs, and graphs compiled to machine code: all that touches torch's private interfaces.

Everything else sees three things: `trace` makes a `Graph` of a function of tensors, `compile_to` (run in a process of
its own, see `worker`) turns its description into a folder with a shared library, and `Program` runs what is in it. The
interfaces used are those of the versions in `TESTED`; with another version nothing is compiled.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import math
import operator
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lamina.core.errors import LaminaError
from lamina.ops.affine import prefers_onednn
from lamina.training.folding import fold_normalizations

Tensor = torch.Tensor

TESTED = ("2.13",)
"""The versions of torch whose private interfaces this file was written for."""

_DRIVER = Path(__file__).with_name("driver.c")


class NotCapturable(LaminaError, RuntimeError):
    """A step cannot be traced, compiled or loaded; the message says why."""


def unavailable() -> str | None:
    """Why nothing can be compiled here, or None if it can be."""
    version = ".".join(torch.__version__.split(".")[:2])
    if version not in TESTED:
        return f"torch {version} is not one of the versions this was tested on ({', '.join(TESTED)})"
    if sys.platform != "linux":
        return f"steps are compiled on Linux only, and this is {sys.platform}"
    if compiler_of_machine() is None:
        return "there is no C++ compiler on this machine (g++ or clang++, or the one named by $CXX)"
    return None


def compiler_of_machine() -> str | None:
    """The C++ compiler, by name; None if there is none."""
    names = [os.environ.get("CXX"), "g++", "clang++"]
    return next((name for name in names if name and shutil.which(name)), None)


# Tracing.


@dataclass(frozen=True)
class Graph:
    """A function of tensors as a list of torch operations.

    Args:
        text: the description, JSON: inputs, operations, results, number of threads.
        constants: tensors the function uses without having been given them; they are further inputs, at the end.
    """

    text: str
    constants: tuple[Tensor, ...]

    @property
    def key(self) -> str:
        """The name under which compiled code is kept: it changes with the graph, torch, lamina and the processor."""
        parts = (self.text, torch.__version__, _own_version(), _cpu(), sys.version.split()[0])
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _own_version() -> str:
    """What changes with lamina's own code, whose rules and operations go into what is compiled."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return f"{len(files)} {max(file.stat().st_mtime_ns for file in files)}"


@functools.cache
def _cpu() -> str:
    """What code may rely on: the processor's instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {flags}"


def trace(function: Callable[..., Any], inputs: Sequence[Tensor], threads: int) -> Graph:
    """The torch operations that a function runs, without running them on data.

    Args:
        function: takes a list of tensors, which it may change in place, and returns a list of tensors.
        inputs: tensors like those it will be given. They are looked at, not used.
        threads: how many the compiled function shall use.

    Raises:
        NotCapturable: the function reads values, draws from a generator, or does what a graph cannot hold.
    """
    from torch._guards import detect_fake_mode
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fakes = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).requires_grad_(x.requires_grad)
            for x in inputs
        ]
    assert detect_fake_mode(fakes) is mode
    module = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(fakes)
    module.graph.eliminate_dead_code()
    return _encode(module, len(fakes), threads)


def _encode(module: Any, inputs: int, threads: int) -> Graph:
    """A graph of torch.fx as a description."""
    numbers: dict[Any, int] = {}
    specs, nodes, constants = [], [], []
    results: Any = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            numbers[node] = len(numbers)
            specs.append(_spec(node.meta["val"]))
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = operator.attrgetter(node.target)(module)
            numbers[node] = inputs + len(constants)
            constants.append(value.detach())
    specs += [_spec(value) for value in constants]
    for node in module.graph.nodes:
        if node.op == "call_function":
            arguments = _encode_value((list(node.args), dict(node.kwargs)), numbers)
            numbers[node] = len(specs) + len(nodes)
            nodes.append([_name_of(node.target), arguments])
        elif node.op == "output":
            results = [_encode_value(result, numbers) for result in node.args[0]]
        elif node.op not in ("placeholder", "get_attr"):
            raise NotCapturable(f"a graph cannot hold {node.op} {node.target}")
    text = json.dumps(
        {"inputs": specs, "nodes": nodes, "results": results, "threads": threads},
        separators=(",", ":"),
    )
    return Graph(text, tuple(constants))


def _spec(tensor: Tensor) -> list[Any]:
    return [list(tensor.shape), list(tensor.stride()), str(tensor.dtype), str(tensor.device)]


def _name_of(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    if target is operator.getitem:
        return "getitem"
    raise NotCapturable(f"the operation {getattr(target, '__name__', target)} cannot be compiled")


_TAGS: dict[type, str] = {
    torch.dtype: "dtype",
    torch.device: "device",
    torch.layout: "layout",
    torch.memory_format: "memory_format",
}


def _encode_value(value: Any, numbers: dict[Any, int]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [_encode_value(part, numbers) for part in value]
    if isinstance(value, dict):
        return {"dict": {key: _encode_value(part, numbers) for key, part in value.items()}}
    if isinstance(value, torch.fx.Node):
        return {"node": numbers[value]}
    for kind, tag in _TAGS.items():
        if isinstance(value, kind):
            return {tag: str(value)}
    raise NotCapturable(f"a graph cannot hold the value {value!r}")


# Compiling. What follows, up to `Program`, runs in the worker.


def _decode_value(value: Any, values: Sequence[Any]) -> Any:
    if isinstance(value, list):
        return [_decode_value(part, values) for part in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "node":
        return values[content]
    if tag == "dict":
        return {key: _decode_value(part, values) for key, part in content.items()}
    if tag == "float":
        return float(content)
    if tag == "device":
        return torch.device(content)
    return getattr(torch, content.removeprefix("torch."))


def _operation(name: str) -> Any:
    if name == "getitem":
        return operator.getitem
    namespace, op, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), op), overload)


def _rebuilt(description: dict[str, Any]) -> Callable[..., tuple[Any, ...]]:
    """The function that a description describes."""
    nodes = [(_operation(name), arguments) for name, arguments in description["nodes"]]
    fold_normalizations(nodes, len(description["inputs"]), description["results"])

    def function(*inputs: Tensor) -> tuple[Any, ...]:
        values: list[Any] = list(inputs)
        for operation, arguments in nodes:
            args, kwargs = _decode_value(arguments, values)
            values.append(operation(*args, **kwargs))
        return tuple(_decode_value(result, values) for result in description["results"])

    return function


def compile_to(folder: Path, text: str) -> None:
    """Compile a described graph; the folder then holds `code.json` and the libraries that it names.

    Args:
        folder: an empty folder.
        text: what `Graph.text` holds.
    """
    import torch._inductor.compile_fx as inductor
    from torch._inductor import config, decomposition
    from torch._inductor.virtualized import V
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    description = json.loads(text)
    with FakeTensorMode():
        fakes = [
            torch.empty_strided(shape, stride, dtype=getattr(torch, dtype.removeprefix("torch.")), device=device)
            for shape, stride, dtype, device in description["inputs"]
        ]
    table = dict(decomposition.select_decomp_table())
    _use_native_pooling(table)
    pure = functionalize(_rebuilt(description), remove="mutations")
    module = make_fx(pure, decomposition_table=table, tracing_mode="fake")(*fakes)
    _use_onednn(module)
    _keep_layouts(module)
    _keep_small(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    placeholders = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
    options = {
        "cpp_wrapper": True,
        "aot_inductor.output_path": str(folder) + os.sep,
        "aot_inductor.precompile_headers": False,  # it takes longer than it saves
        "fx_graph_cache": False,
        "fx_graph_remote_cache": False,
        "cpp.threads": description["threads"],
        "cpp.min_chunk_size": 4096,
    }
    with config.patch(options), V.set_aot_compilation(True):
        compiled = inductor.compile_fx_inner(module, placeholders, cpp_wrapper=True, aot_mode=True)
    library = Path(compiled.filename)  # type: ignore[attr-defined]
    kernels = library.with_suffix(".json")
    outside = kernels.exists() and json.loads(kernels.read_text() or "{}").get("nodes")
    driver = None if outside else _build_driver(folder)
    contents = {"library": library.name, "driver": driver, "results": len(description["results"])}
    (folder / "code.json").write_text(json.dumps(contents))


def _use_native_pooling(table: dict[Any, Any]) -> None:
    """Max pooling by torch's own kernels: what Inductor makes of it on a CPU is several times slower."""
    from torch._inductor.lowering import make_fallback

    for operation in (torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward):
        if table.pop(operation.default, None) is not None:
            make_fallback(operation.default, override_decomp=True)


def _keep_layouts(module: Any) -> None:
    """Have what convolutions and pooling read stored as the graph has it: channels last, seen as channels first.

    Inductor applies the order of axes that such an operation wants to the tensor behind the view, which has others.
    """
    aten = torch.ops.aten
    wanting = {
        aten.convolution.default,
        aten.convolution_backward.default,
        aten.max_pool2d_with_indices.default,
        aten.max_pool2d_with_indices_backward.default,
    }
    sources = {
        view.args[0]
        for node in module.graph.nodes
        if node.target in wanting
        for view in node.all_input_nodes
        if view.target is aten.permute.default and view.args[0].op == "call_function"
    }
    for source in sources:
        _keep(module, source)


_SMALL, _LONG = 512, 8


def _keep_small(module: Any) -> None:
    """Have small tensors stored that come from random draws, took long, and are used again or meet larger ones.

    Inductor puts such a computation into every use of its result, and for each element anew: a draw for each pixel, and
    layers that draw one after the other take it minutes.
    """
    lengths: dict[Any, int] = {}
    drawn: set[Any] = set()
    for node in list(module.graph.nodes):
        size = _size(node)
        mixes_bits = node.target is torch.ops.aten.bitwise_xor.Tensor  # as all draws do
        if size <= _SMALL and (mixes_bits or not drawn.isdisjoint(node.all_input_nodes)):
            drawn.add(node)
        if not _is_inlined(node):
            continue
        length = 1 + sum(lengths.get(source, 0) for source in node.all_input_nodes)
        again = len(node.users) > 1 or any(_size(user) > size for user in node.users)
        if again and length > _LONG and node in drawn:
            drawn.add(_keep(module, node))
            length = 0
        lengths[node] = length


def _is_inlined(node: Any) -> bool:
    """Whether Inductor computes an operation where its result is used."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not isinstance(node.meta.get("val"), Tensor):
        return False
    return target.is_view or torch.Tag.pointwise in target.tags or target.namespace == "prims"


def _size(node: Any) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _keep(module: Any, node: Any) -> Any:
    """Have the result of an operation stored as the graph has it; the node that stands for it."""
    with module.graph.inserting_after(node):
        order = torch.ops.prims.inductor_force_stride_order.default
        kept = module.graph.call_function(order, (node, node.meta["val"].stride()))
        kept.meta.update(node.meta)
    node.replace_all_uses_with(kept, delete_user_cb=lambda user: user is not kept)
    return kept


def _use_onednn(module: Any) -> None:
    """Large matrix products by oneDNN, where it is the faster library."""
    from torch._inductor import ir, mkldnn_ir
    from torch._inductor.lowering import register_lowering

    operation = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    products = {torch.ops.aten.mm.default: 0, torch.ops.aten.addmm.default: 1}
    chosen = []
    for node in module.graph.nodes:
        skipped = products.get(node.target)
        if skipped is None or len(node.args) != 2 + skipped or node.kwargs:
            continue
        left, right = (argument.meta["val"] for argument in node.args[skipped:])
        if prefers_onednn(left, right) and (not skipped or node.args[0].meta["val"].ndim == 1):
            chosen.append((node, skipped))
    if operation is None or not chosen:
        return

    def lowered(x: Any, weight: Any, bias: Any, attribute: str, scalars: Any, algorithm: str) -> Any:
        """As Inductor does it, but for weights that change, in whatever order they are stored."""
        inputs = [ir.ExternKernel.realize_input(part) for part in (x, weight, bias) if part is not None]
        size = [x.get_size()[0], weight.get_size()[0]]
        layout = ir.FixedLayout(device=x.get_device(), dtype=x.get_dtype(), size=size)
        constants = [attribute, [-1], algorithm] if bias is not None else [None, attribute, [-1], algorithm]
        product = mkldnn_ir.LinearUnary(layout=layout, inputs=inputs, constant_args=constants)
        return ir.TensorBox.create(mkldnn_ir._create_output_node(product))

    register_lowering(operation.default, type_promotion_kind=None)(lowered)
    for node, skipped in chosen:
        bias, (left, right) = node.args[0] if skipped else None, node.args[skipped:]
        with module.graph.inserting_before(node):
            weight = module.graph.call_function(torch.ops.aten.permute.default, (right, [1, 0]))
            weight.meta["val"] = right.meta["val"].t()
            product = module.graph.call_function(operation.default, (left, weight, bias, "none", [], ""))
            product.meta.update(node.meta)
        node.replace_all_uses_with(product)
        module.graph.erase_node(node)


def _build_driver(folder: Path) -> str:
    """Compile the loop over steps."""
    libraries = Path(torch.__file__).parent / "lib"
    target = folder / "driver.so"
    command = [compiler_of_machine() or "g++", "-x", "c++", "-O2", "-shared", "-fPIC", str(_DRIVER), "-o", str(target)]
    subprocess.run([*command, f"-L{libraries}", "-ltorch_cpu", f"-Wl,-rpath,{libraries}"], check=True)
    return target.name


# Running.


class Program:
    """Compiled code, bound to the tensors it reads and changes in place.

    Args:
        folder: what `compile_to` has filled.
        state: the tensors before those of a batch, in the order of the graph's inputs.
        constants: those after them.
    """

    def __init__(self, folder: Path, state: Sequence[Tensor], constants: Sequence[Tensor]) -> None:
        contents = json.loads((folder / "code.json").read_text())
        library = str(folder / contents["library"])
        self._state, self._constants = list(state), list(constants)
        self._runner: Any = None
        self._loop: _Loop | None = None
        if contents["driver"] is None or contents["results"]:
            self._runner = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)  # type: ignore[attr-defined]
        else:
            self._loop = _Loop(str(folder / contents["driver"]), library, self._state, self._constants)

    def results(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """One step on a batch; what the function returns."""
        return self._runner.run([*self._state, *batch, *self._constants])

    def steps(self, batches: Sequence[Sequence[Tensor]]) -> None:
        """One step after the other, one for each batch, for a function that returns nothing."""
        if self._loop is not None:
            self._loop(batches)
            return
        for batch in batches:
            self._runner.run([*self._state, *batch, *self._constants])


class _Loop:
    """The loop over steps in C, around the library's own entry point: nothing of Python between two steps."""

    def __init__(self, driver: str, library: str, state: Sequence[Tensor], constants: Sequence[Tensor]) -> None:
        self._driver, self._library = ctypes.CDLL(driver), ctypes.CDLL(library)
        self._pointer = ctypes.pythonapi.PyCapsule_GetPointer
        self._pointer.restype, self._pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self._container = ctypes.c_void_p()
        create = self._library.AOTInductorModelContainerCreateWithDevice
        if create(ctypes.byref(self._container), ctypes.c_size_t(1), b"cpu", None):
            raise NotCapturable("the compiled code could not be loaded")
        self._run = ctypes.cast(self._library.AOTInductorModelContainerRunSingleThreaded, ctypes.c_void_p)
        self._before, self._after = self._handles(state), self._handles(constants)

    def _handles(self, tensors: Sequence[Tensor]) -> Any:
        """torch's own handles, each to be freed, or taken by a step."""
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(tensors)  # type: ignore[attr-defined]
        return (ctypes.c_void_p * len(capsules))(*[self._pointer(capsule, None) for capsule in capsules])

    def __call__(self, batches: Sequence[Sequence[Tensor]]) -> None:
        leaves = self._handles([leaf for batch in batches for leaf in batch])
        failed = self._driver.lamina_steps(
            self._run,
            self._container,
            self._before,
            ctypes.c_int64(len(self._before)),
            leaves,
            ctypes.c_int64(len(batches)),
            ctypes.c_int64(len(batches[0])),
            self._after,
            ctypes.c_int64(len(self._after)),
        )
        if failed:
            raise NotCapturable(f"step {failed - 1} of {len(batches)} failed in compiled code")

    def __del__(self) -> None:
        if getattr(self, "_after", None) is not None:
            for handles in (self._before, self._after):
                self._driver.lamina_free(handles, ctypes.c_int64(len(handles)))
            self._library.AOTInductorModelContainerDelete(self._container)
