"""Runs one op in lamina and in the real Keras on the same arguments, for real and for symbolic tensors, and compares.

A case is a call. Trials are made of it: each dtype its tensors can have, each kind of argument, each pattern of unknown
sizes. Where Keras itself cannot answer, a trial says nothing. Where Keras contradicts itself about a dtype, its
symbolic result counts, for that one is meant for all of its backends; `REAL_DECIDES` names the ops where it was not.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes
from tests.parity import lattice_cases, lattice_cases_nn
from tests.parity.lattice_differences import DIFFERENCES, Known

import lamina.activations
import lamina.random
from lamina import ops
from lamina.graph.tensor import KerasTensor

UNSIGNED = ("bool", "uint8", "uint16", "uint32")
SIGNED = ("int8", "int16", "int32", "int64")
FLOATS = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*UNSIGNED, *SIGNED, *FLOATS)
WIDE = {"int64", "float64", "uint32", "array64"}  # uint32 is here for what it makes with signed integers: int64
NUMBERS = {"Python bool": True, "Python int": 2, "Python float": 1.5}
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}

# Their values are drawn, left as they are found, or right in any order.
WITHOUT_VALUES = (
    "random.",
    "image.elastic_transform",
    "empty",
    "empty_like",
    "argpartition",
    "eig",
    "eigh",
    "svd",
    "qr",
)
# Keras on torch has no such dtypes: its real tensors have the next larger one, its symbolic ones keep the name.
ROUNDED_UP = {"uint16", "uint32"}
# Keras's symbolic results copy the dtype of an argument here, or take no notice of numbers and half floats; its real
# results on torch are those it gives on JAX. What a caller's own function makes of real tensors is torch's to say.
REAL_DECIDES = set(
    "erf rsqrt erfinv logsumexp reciprocal arctan2 logaddexp logaddexp2 clip meshgrid select rfft lu_factor angle abs "
    "real imag solve_triangular polar eig linspace logspace geomspace trapezoid gcd lcm sigmoid softsign sparse_plus "
    "sparse_sigmoid sparsemax squareplus tanh_shrink activations.sigmoid activations.softsign activations.sparse_plus "
    "activations.sparse_sigmoid activations.squareplus activations.tanh_shrink batch_normalization normalize "
    "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy multi_hot psnr ndim "
    "custom_gradient fori_loop scan".split()
)
# Keras on torch fails on some dtypes here; on JAX it gives what its symbolic results say.
SYMBOLIC_DECIDES = {"searchsorted", "top_k"}
# Names in keras.ops, keras.random and keras.activations that are no functions of tensors.
NOT_OPS = {"image", "linalg", "nn", "numpy", "random.SeedGenerator"}
NOT_OPS |= {f"activations.{name}" for name in ("get", "serialize", "deserialize")}


@dataclass(frozen=True, eq=False)
class Case:
    """A call: the op's name, its arguments, its keywords. What a returned function is called with is keyword `of`."""

    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        parts = [_brief(x) for x in self.args] + [f"{key}={_brief(x)}" for key, x in self.kwargs.items()]
        return f"{self.op}({', '.join(parts)})"


class Trial(NamedTuple):
    """A case, what is varied (dtypes, arguments or sizes), and one choice for each of its arrays."""

    case: Case
    kind: str
    choice: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.case} {self.kind}: {', '.join(map(str, self.choice))}"


class Difference(NamedTuple):
    """Where lamina and Keras part."""

    trial: Trial
    aspect: str
    expected: str
    received: str

    def __str__(self) -> str:
        return f"{self.aspect:15} {self.trial}\n    expected {self.expected}\n    received {self.received}"


class Seen(NamedTuple):
    """One leaf of a result."""

    dtype: str
    shape: tuple[Any, ...] | None
    value: Any = None


class Refused(Exception):
    """The op raised an error; its text is kept."""


CASES = [Case(*case) for case in (*lattice_cases.CASES, *lattice_cases_nn.CASES)]


def public_names() -> list[str]:
    """The public functions of keras.ops, keras.ops.image, keras.random and keras.activations."""
    faces = {"": keras.ops, "image.": keras.ops.image, "random.": keras.random, "activations.": keras.activations}
    return [
        prefix + name
        for prefix, module in faces.items()
        for name in dir(module)
        if not name.startswith("_") and prefix + name not in NOT_OPS
    ]


def trials_of(case: Case) -> Iterator[Trial]:
    """Every trial of a case: its own dtypes first, all others, other kinds of arguments, unknown sizes."""
    slots = arrays_of(case)
    own = tuple(x.dtype.name for x in slots)
    yield Trial(case, "dtypes", own)
    if not slots:
        return
    if all(x.dtype.kind != "c" for x in slots):
        choices: Any = [(dtype,) * len(slots) for dtype in DTYPES]
        if case in _pair_cases():
            choices = [(x, *(y,) * (len(slots) - 1)) for x, y in itertools.product([*DTYPES, *NUMBERS], repeat=2)]
            choices = choices if len(slots) > 1 else [(x,) for x in (*DTYPES, *NUMBERS)]
        yield from (Trial(case, "dtypes", choice) for choice in choices if choice != own)
    for form in ("array", "list", "array64"):
        yield Trial(case, "arguments", (form,) * len(slots))
    for form in ("array", "list") if len(slots) > 1 else ():
        yield from (
            Trial(case, "arguments", tuple(form if i == j else "tensor" for j in range(len(slots))))
            for i in range(len(slots))
        )
    yield from (Trial(case, "sizes", choice) for choice in _unknown_sizes([x.shape for x in slots]))


def sampled(case: Case, count: int) -> list[Trial]:
    """A few trials of a case, the same ones every time; its own dtypes are among them."""
    first, *rest = trials_of(case)
    return [first, *random.Random(str(case)).sample(rest, min(count, len(rest)))]


def run(trial: Trial) -> list[Difference] | None:
    """What differs in this trial; None where Keras cannot answer.

    lamina keeps 64 bits where they are given, as Keras does on TensorFlow. On torch, Keras's rule ends with a table
    that halves them, while most of its torch functions keep them; so with wide dtypes lamina may do either.
    """
    compare = {"dtypes": _compare_dtypes, "arguments": _compare_arguments, "sizes": _compare_sizes}[trial.kind]
    if not WIDE.isdisjoint(trial.choice):
        with mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, clear=True):
            found = compare(trial)
        if found is not None and all(known(difference) for difference in found):
            return found
    return compare(trial)


def covers(entry: Known, trial: Trial) -> bool:
    """Whether an entry of the table speaks of this trial."""
    return trial.case.op in entry.ops.split() and fnmatchcase(str(trial), entry.where)


def known(difference: Difference) -> Known | None:
    """The entry of the table that a difference is meant by."""
    for entry in DIFFERENCES:
        if difference.aspect in entry.aspects.split(", ") and covers(entry, difference.trial):
            return entry
    return None


def source_of(op: str) -> str:
    """The module of lamina that has the op."""
    return inspect.unwrap(_function(lamina, op)).__module__.removeprefix("lamina.").removeprefix("ops.")


@functools.cache
def _pair_cases() -> list[Case]:
    """Those cases that stand for their ops in the whole lattice: the first one with each number of tensors."""
    found: dict[tuple[str, int], Case] = {}
    for case in CASES:
        found.setdefault((case.op, len(arrays_of(case))), case)
    return list(found.values())


def _unknown_sizes(shapes: list[tuple[int, ...]]) -> list[tuple[Any, ...]]:
    """Patterns of unknown sizes: the first of all, the last of all, all; then the same in one tensor only."""
    patterns = {
        "first": [(None, *shape[1:]) if shape else () for shape in shapes],
        "last": [(*shape[:-1], None) if shape else () for shape in shapes],
        "all": [(None,) * len(shape) for shape in shapes],
    }
    found = [tuple(pattern) for pattern in patterns.values()]
    if len(shapes) > 1:
        for pattern, i in itertools.product(patterns.values(), range(len(shapes))):
            found.append(tuple(pattern[i] if i == j else shape for j, shape in enumerate(shapes)))
    if len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 2:
        rows, columns = shapes[0]
        found += [((None, columns), (rows, None)), ((None, 1), (None,)), ((1, None), (None, 1))]
    return list(dict.fromkeys(found))


def arrays_of(case: Case) -> list[np.ndarray]:
    """The arrays among the arguments, in order."""
    return [x for x in leaves((case.args, case.kwargs)) if isinstance(x, np.ndarray)]


def leaves(value: Any) -> list[Any]:
    """What a nested structure holds, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (list, tuple)) else [value]


def _filled(value: Any, replacements: Iterator[Any]) -> Any:
    """The same structure with the next replacement for each array."""
    if isinstance(value, dict):
        return {key: _filled(item, replacements) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(item, replacements) for item in value)
    return next(replacements) if isinstance(value, np.ndarray) else value


def _function(package: Any, op: str) -> Callable[..., Any]:
    face, _, name = op.rpartition(".")
    return getattr(package.ops.image if face == "image" else getattr(package, face or "ops"), name)


def _called(package: Any, case: Case, replacements: list[Any]) -> list[Seen]:
    """The result of the op of one of the packages, as a flat list."""
    args, kwargs = _filled((case.args, case.kwargs), iter(replacements))
    of = kwargs.pop("of", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _function(package, case.op)(*args, **kwargs)
            return [_seen(leaf) for leaf in leaves(result if of is None else result(*of))]
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error


def _seen(leaf: Any) -> Seen:
    if isinstance(leaf, torch.Tensor):
        return Seen(ops.dtype(leaf), tuple(leaf.shape), leaf.detach())
    if isinstance(leaf, (KerasTensor, keras.KerasTensor)):
        return Seen(leaf.dtype, tuple(leaf.shape))
    return Seen(f"{type(leaf).__module__}.{type(leaf).__name__}", None, leaf)


def tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    """The array in another dtype: away from zero where it gets integers, without signs where there are none."""
    if dtype not in FLOATS and array.dtype.kind == "f":
        array = np.copysign(np.ceil(np.abs(np.nan_to_num(array))), array)
    if dtype in UNSIGNED and array.dtype.kind != "b":
        array = np.abs(array)
    return torch.tensor(array).to(getattr(torch, dtype))


def _real(trial: Trial) -> list[Any]:
    return [
        NUMBERS[dtype] if dtype in NUMBERS else tensor(array, dtype)
        for array, dtype in zip(arrays_of(trial.case), trial.choice, strict=True)
    ]


def _symbolic(make: Callable[..., Any], trial: Trial) -> list[Any]:
    return [
        NUMBERS[dtype] if dtype in NUMBERS else make(array.shape, dtype=dtype)
        for array, dtype in zip(arrays_of(trial.case), trial.choice, strict=True)
    ]


def _attempt(package: Any, case: Case, replacements: list[Any]) -> list[Seen] | str:
    """The result, or the text of the error."""
    try:
        return _called(package, case, replacements)
    except Refused as error:
        return str(error)


def _compare_dtypes(trial: Trial) -> list[Difference] | None:
    case, found = trial.case, []
    theirs = _attempt(keras, case, _real(trial))
    if isinstance(theirs, str):
        return _compare_with_symbolic(trial)
    with_tensors = any(dtype not in NUMBERS for dtype in trial.choice)
    spec = _attempt(keras, case, _symbolic(keras.KerasTensor, trial)) if with_tensors else "no tensors"
    symbolic = not isinstance(spec, str) and any(leaf.shape is not None for leaf in spec)
    allowed = [[x.dtype for x in theirs]]
    if symbolic and not isinstance(spec, str) and [x.dtype for x in spec] != allowed[0]:
        if not ROUNDED_UP.isdisjoint(trial.choice):
            allowed.append([x.dtype for x in spec])
        elif case.op not in REAL_DECIDES:
            allowed = [[x.dtype for x in spec]]
    expected = " or ".join(", ".join(dtypes) for dtypes in allowed)

    def differ(aspect: str, received: str) -> None:
        found.append(Difference(trial, aspect, expected, received))

    ours = _attempt(lamina, case, _real(trial))
    if isinstance(ours, str):
        differ("raises", ours)
    elif [x.dtype for x in ours] not in allowed:
        differ("dtype", ", ".join(x.dtype for x in ours))
    else:
        found += _compare_values(trial, ours, theirs)
    if not symbolic:
        return found
    our_spec = _attempt(lamina, case, _symbolic(KerasTensor, trial))
    if isinstance(our_spec, str):
        differ("symbolic raises", our_spec)
    elif [x.dtype for x in our_spec] not in (allowed if isinstance(ours, str) else [[x.dtype for x in ours]]):
        differ("symbolic dtype", ", ".join(x.dtype for x in our_spec))
    elif not isinstance(ours, str):
        exact = not isinstance(spec, str) and [x.shape for x in spec] == [x.shape for x in theirs]
        found += _compare_shapes(trial, our_spec, ours, exact)
    return found


def _compare_with_symbolic(trial: Trial) -> list[Difference] | None:
    """Where Keras fails on real tensors: lamina's two answers agree, and are Keras's symbolic one where that counts."""
    if all(dtype in NUMBERS for dtype in trial.choice) or not ROUNDED_UP.isdisjoint(trial.choice):
        return None
    ours = _attempt(lamina, trial.case, _real(trial))
    our_spec = _attempt(lamina, trial.case, _symbolic(KerasTensor, trial))
    if trial.case.op in SYMBOLIC_DECIDES:
        spec = _attempt(keras, trial.case, _symbolic(keras.KerasTensor, trial))
    else:
        spec = ours
    if isinstance(spec, str) or isinstance(our_spec, str):
        return None
    expected = ", ".join(x.dtype for x in spec)
    found = []
    for aspect, answer in (("dtype", ours), ("symbolic dtype", our_spec)):
        received = answer if isinstance(answer, str) else ", ".join(x.dtype for x in answer)
        if received != expected:
            found.append(Difference(trial, aspect, expected, received))
    return found or None


def _compare_values(trial: Trial, ours: list[Seen], theirs: list[Seen]) -> list[Difference]:
    """Two results of real tensors: their number, their shapes, their values."""
    if [x.shape for x in ours] != [x.shape for x in theirs]:
        return [Difference(trial, "shape", str([x.shape for x in theirs]), str([x.shape for x in ours]))]
    if trial.case.op.startswith("random.") or trial.case.op in WITHOUT_VALUES:
        return []
    found = []
    for our, their in zip(ours, theirs, strict=True):
        if our.dtype != their.dtype and not ROUNDED_UP.isdisjoint(trial.choice):
            continue  # one of them wraps round where the other has room
        if our.shape is None:
            equal = np.array_equal(our.value, their.value)
        else:
            wide = torch.complex128 if our.value.is_complex() else torch.float64
            rtol = max(TOLERANCES.get(str(name), 1e-4) for name in (our.dtype, their.dtype, *trial.choice))
            x, y = our.value.to(wide), their.value.to(wide)
            equal = torch.allclose(x, y, rtol=rtol, atol=rtol / 10, equal_nan=True)
        if not equal:
            found.append(Difference(trial, "value", _brief(their.value, True), _brief(our.value, True)))
    return found[:1]


def _compare_shapes(trial: Trial, spec: list[Seen], real: list[Seen], exact: bool) -> list[Difference]:
    """lamina's symbolic result beside its real one: they agree, but sizes that depend on values may be unknown."""
    for their, our in zip(real, spec, strict=True):
        agree = our.shape == their.shape or (
            not exact
            and our.shape is not None
            and their.shape is not None
            and len(our.shape) == len(their.shape)
            and all(x in (None, y) for x, y in zip(our.shape, their.shape, strict=True))
        )
        if not agree:
            return [Difference(trial, "symbolic shape", str(their.shape), str(our.shape))]
    return []


def _as(array: np.ndarray, form: str) -> Any:
    if form == "list":
        return array.tolist()
    if form == "array64":
        return array.astype({"f": "float64", "i": "int64"}.get(array.dtype.kind, array.dtype))
    return array.copy() if form == "array" else torch.tensor(array)


def _compare_arguments(trial: Trial) -> list[Difference] | None:
    arrays = arrays_of(trial.case)

    def given() -> list[Any]:  # anew for each, because Keras on torch writes into what affine_transform is given
        return [_as(array, form) for array, form in zip(arrays, trial.choice, strict=True)]

    theirs = _attempt(keras, trial.case, given())
    if isinstance(theirs, str):
        return None
    ours = _attempt(lamina, trial.case, given())
    expected = ", ".join(x.dtype for x in theirs)
    if isinstance(ours, str):
        return [Difference(trial, "raises", expected, ours)]
    names = [
        x.dtype.name if isinstance(x, np.ndarray) else array.dtype.name
        for x, array in zip(given(), arrays, strict=True)
    ]
    spec = _attempt(
        keras, trial.case, [keras.KerasTensor(x.shape, dtype=d) for x, d in zip(arrays, names, strict=True)]
    )
    allowed = [[x.dtype for x in result] for result in (theirs, spec) if not isinstance(result, str)]
    if [x.dtype for x in ours] not in allowed:
        return [Difference(trial, "dtype", expected, ", ".join(x.dtype for x in ours))]
    return _compare_values(trial, ours, theirs)


def _compare_sizes(trial: Trial) -> list[Difference] | None:
    case, names = trial.case, [x.dtype.name for x in arrays_of(trial.case)]

    def spec(package: Any, make: Callable[..., Any], shapes: Any) -> list[Seen] | str:
        return _attempt(package, case, [make(s, dtype=d) for s, d in zip(shapes, names, strict=True)])

    examples = list(_examples(trial))
    reals = [_attempt(keras, case, [torch.tensor(x) for x in arrays]) for arrays in examples]
    for arrays, real in zip(examples, reals, strict=True):
        known_sizes = spec(keras, keras.KerasTensor, [x.shape for x in arrays])
        if isinstance(known_sizes, str) or isinstance(real, str):
            continue
        if [x.shape for x in real] != [x.shape for x in known_sizes]:
            return None
    if len(examples) > 1 and all(isinstance(real, str) for real in reals):
        return None
    theirs = spec(keras, keras.KerasTensor, trial.choice)
    if isinstance(theirs, str) or all(leaf.shape is None for leaf in theirs):
        return None
    ours = spec(lamina, KerasTensor, trial.choice)
    expected = str([x.shape for x in theirs])
    if isinstance(ours, str):
        return [Difference(trial, "symbolic raises", expected, ours)]
    if [x.shape for x in ours] == [x.shape for x in theirs]:
        return []
    answers = [real for real in reals if not isinstance(real, str)]
    if answers and all(
        len(ours) == len(theirs) == len(real) and all(map(_settled, ours, theirs, real)) for real in answers
    ):
        return []
    return [Difference(trial, "symbolic shape", expected, str([x.shape for x in ours]))]


def _examples(trial: Trial) -> Iterator[list[np.ndarray]]:
    """Arrays of the sizes of a trial: its own where they fit, else two sets with 1 or 2 for what is not known."""
    arrays = arrays_of(trial.case)
    pairs = list(zip(arrays, trial.choice, strict=True))
    if all(
        x.ndim == len(sizes) and all(b in (None, a) for a, b in zip(x.shape, sizes, strict=True)) for x, sizes in pairs
    ):
        yield arrays
        return
    for unknown in (1, 2):
        yield [np.resize(x, [unknown if size is None else size for size in sizes]) for x, sizes in pairs]


def _settled(our: Seen, their: Seen, real: Seen) -> bool:
    """Whether sizes are those of Keras. Where one argument settles what another leaves open, lamina may know them."""
    if our.shape is None or their.shape is None or real.shape is None:
        return False
    sizes = zip(our.shape, their.shape, real.shape, strict=False)
    return len(our.shape) == len(their.shape) == len(real.shape) and all(
        x == y or (y is None and x == z) for x, y, z in sizes
    )


def _brief(value: Any, whole: bool = False) -> str:
    if whole:
        return " ".join(str(value).split())[:300]
    if isinstance(value, np.ndarray):
        return "x".join(map(str, value.shape)) or "scalar"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_brief(item) for item in value)}]"
    return "function" if inspect.isfunction(value) else str(value)
