"""Gradients of every op: against finite differences in float64, first and second order, in 16 bits, and at edges."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from lamina import ops, tree

RNG = np.random.RandomState(3)


def reals(*shape: int, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    return torch.tensor(RNG.uniform(low, high, shape))


def distinct(*shape: int) -> torch.Tensor:
    """Values in random order, all well apart: extremes and orders stay what they are under small changes."""
    count = math.prod(shape)
    return torch.tensor((RNG.permutation(count) + 0.3).reshape(shape) / count * 4 - 2)


A, B, U, P = reals(2, 3), reals(2, 3, low=0.5), reals(2, 3, low=0.05, high=0.95), reals(2, 3, low=1.2, high=3.0)
C, D, T, V, W = reals(3, 4), distinct(2, 3), distinct(2, 3, 2), distinct(4), distinct(8)
S = torch.tensor([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]], dtype=torch.float64)
L = torch.linalg.cholesky(S)
N = torch.tensor([[1.0, math.nan, 3.0], [2.0, 4.0, math.nan]], dtype=torch.float64)
IMAGE, KERNEL = reals(1, 4, 4, 2), reals(2, 2, 2, 3)
SEGMENTS, INDEX = torch.tensor([0, 1, 0, 1]), torch.tensor([[0, 1], [1, 2], [0, 1]])
MASK = torch.tensor([[True, False, True], [False, False, True]])
QUERY, KEY = reals(1, 3, 2, 2), reals(1, 4, 2, 2)
CORNERS = [[0.3, 0.2], [0.1, 3.1], [3.2, 0.1], [3.0, 2.9]]
COLOURS = torch.tensor([[[[0.2, 0.5, 0.8], [0.7, 0.3, 0.1]]]], dtype=torch.float64)
LABELS = torch.tensor([[0.0, 1.0, 0.0], [0.3, 0.3, 0.4]], dtype=torch.float64)
Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


def of(name: str) -> Callable[..., Any]:
    return getattr(ops.image, name) if not hasattr(ops, name) else getattr(ops, name)


def each(names: str, *args: Any, **kwargs: Any) -> list[Case]:
    """A case for each op: its float64 arguments are what it is derived by."""
    return [(name, lambda *xs, name=name: of(name)(*xs, **kwargs), args) for name in names.split()]


SMOOTH: list[Case] = [
    *each(
        "abs absolute fabs negative square exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh sinc i0 erf erfc "
        "nan_to_num deg2rad rad2deg real conj conjugate cbrt copy ravel transpose flip flipud fliplr rot90 trace "
        "diagonal tril triu diagflat sum mean prod var std logsumexp cumsum cumprod average diff trapezoid norm "
        "array convert_to_tensor relu relu6 leaky_relu elu selu celu gelu silu swish softplus softsign sigmoid "
        "log_sigmoid hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink soft_shrink tanh_shrink squareplus "
        "sparse_plus sparse_sigmoid softmax log_softmax normalize rms_normalization layer_normalization",
        A,
    ),
    *each("sqrt rsqrt reciprocal log log10 log1p log2", B),
    *each("arcsin arccos arctanh erfinv", U),
    *each("arccosh", P),
    *each("amax amin max min ptp median sort nanmax nanmin nanmedian sparsemax", D),
    *each("nansum nanprod nancumsum nancumprod nanmean nanvar nanstd", N),
    *each("add subtract multiply divide true_divide divide_no_nan hypot arctan2 logaddexp logaddexp2", A, B),
    *each("maximum minimum fmax fmin inner outer kron append cross cdist", A, B),
    *each("power", B, A),
    *each("mod fmod", A, P),
    *each("squeeze", reals(2, 1)),
    *each("expand_dims repeat", A, 1),
    *each("tile", A, 2),
    *each("det inv logdet pinv qr lu_factor", S),
    *each("solve lstsq", S, reals(3, 2)),
    *each("solve_triangular", L, reals(3, 2), lower=True),
    *each("matmul dot", A, C),
    *each("vdot", V, V + 1.0),
    *each("tensordot", T, reals(3, 2, 2), axes=2),
    *each("vander diag", V),
    *each("diag", C),
    *each("linspace", A, B, num=4),
    *each("logspace", U, B, num=3),
    *each("geomspace", B, P, num=3),
    *each("corrcoef", reals(3, 4)),
    *each("correlate", V, reals(3)),
    *each("percentile nanpercentile", D, 30),
    *each("quantile nanquantile", T, 0.4, axis=1),
    *each("clip", A, -0.5, 0.7),
    *each("reshape", T, (3, 4)),
    *each("broadcast_to", reals(3), (2, 3)),
    *each("moveaxis swapaxes", T, 0, 2),
    *each("roll", A, 1),
    *each("pad", A, ((1, 0), (2, 1))),
    *each("pad", A, ((1, 0), (2, 1)), mode="reflect"),
    *each("split array_split vsplit hsplit", reals(2, 4), 2),
    *each("dsplit", T, 2),
    *each("unstack", A),
    *each("meshgrid", V, reals(3)),
    *each("get_item", A, (slice(None), 1)),
    *each("full_like", A, torch.tensor(0.3, dtype=torch.float64)),
    *each("take", T, torch.tensor([0, -1, 0]), axis=1),
    *each("take_along_axis", A, torch.tensor([[0], [2]]), axis=1),
    *each("segment_sum segment_max segment_min segment_prod", V, SEGMENTS, num_segments=2),
    *each("extract_sequences", W, 4, 2),
    *each("view_as_complex", reals(2, 3, 2)),
    *each("rfft", V),
    *each("stft", W, 4, 2, 4),
    *each("slice", T, (0, 1, 0), (2, 1, 2)),
    *each("slice_update", A, (0, 1), reals(2, 2)),
    *each("scatter_update", A, INDEX[:2], reals(2)),
    *each("rearrange", T, "a b c -> b (a c)"),
    *each("glu", reals(2, 4)),
    *each("threshold", A, 0.1, 0.5),
    *each("average_pool", IMAGE, 2, 1, "same"),
    *each("max_pool", distinct(1, 4, 4, 2), 2, 1),
    *each("conv", IMAGE, KERNEL, 1, "same"),
    *each("conv", IMAGE, KERNEL, 2),
    *each("conv_transpose", IMAGE, reals(2, 2, 3, 2), 2),
    *each("adaptive_average_pool adaptive_max_pool", distinct(1, 4, 4, 2), 3),
    *each("unfold", reals(1, 2, 3, 3), 2),
    *each("fold", reals(1, 8, 4), 3, 2),
    *each("depthwise_conv", IMAGE, reals(2, 2, 2, 2), 1, "same"),
    *each("separable_conv", IMAGE, reals(2, 2, 2, 1), reals(1, 1, 2, 3)),
    *each("dot_product_attention", QUERY, KEY, reals(1, 4, 2, 2)),
    *each("binary_crossentropy", U, U.flip(0)),
    *each("categorical_crossentropy", LABELS, U),
    *each("categorical_crossentropy", LABELS, A, from_logits=True),
    *each("vectorized_map", ops.square, A),
    *each("resize", IMAGE, (3, 5), interpolation="bicubic"),
    *each("affine_transform", IMAGE, [1.1, 0.2, 0.3, -0.1, 0.9, 0.4, 0.0, 0.0]),
    *each("perspective_transform", IMAGE, CORNERS, [[0.5, 0.4], [0.3, 3.3], [3.4, 0.3], [3.2, 3.1]]),
    *each("elastic_transform", IMAGE, alpha=2.0, sigma=1.0, seed=1),
    *each("map_coordinates", reals(4, 4), reals(2, 5, low=0.2, high=2.8), 1),
    *each("scale_and_translate", IMAGE, (1, 5, 5, 2), [1.2, 1.3], [0.1, 0.2], (1, 2), "linear"),
    *each("crop_images", IMAGE, 1, 1, 1, 0),
    *each("pad_images", IMAGE, 1, 1, 1, 1),
    *each("rgb_to_grayscale rgb_to_hsv", COLOURS),
    *each("hsv_to_rgb", COLOURS),
    *each("gaussian_blur sobel_edges", IMAGE),
    *each("ssim", reals(1, 4, 4, 1, low=0.1, high=0.9), reals(1, 4, 4, 1, low=0.1, high=0.9), 1.0, filter_size=3),
    *each("psnr", U, U.flip(0), 1.0),
    *each("extract_patches", IMAGE, 2),
    *each("extract_patches_3d", reals(1, 2, 2, 2, 1), (2, 2, 1)),
    *each("space_to_depth", IMAGE, 2),
    *each("depth_to_space", reals(1, 1, 1, 4), 2),
    *each("polar", B, A),
]


def on(name: str, function: Callable[..., Any], *args: torch.Tensor) -> Case:
    return name, function, args


SMOOTH += [
    on("concatenate", lambda x, y: ops.concatenate([x, y], 1), A, B),
    on("stack", lambda x, y: ops.stack([x, y], 1), A, B),
    on("vstack", lambda x, y: ops.vstack([x, y]), A, B),
    on("hstack", lambda x, y: ops.hstack([x, y]), A, B),
    on("dstack", lambda x, y: ops.dstack([x, y]), A, B),
    on("where", lambda x, y: ops.where(MASK, x, y), A, B),
    on("select", lambda x, y: ops.select([MASK, ~MASK], [x, y]), A, B),
    on("einsum", lambda x, y: ops.einsum("ij,jk->ki", x, y), A, C),
    on("top_k", lambda x: ops.top_k(x, 2)[0], D),
    on("cholesky", lambda x: ops.cholesky(x + x.mT), S),
    on("cholesky_inverse", lambda x: ops.cholesky_inverse(x.tril()), L),
    on("ldexp", lambda x: ops.ldexp(x, [1, 2, 3]), A),
    on("slogdet", lambda x: ops.slogdet(x)[1], S),
    on("eigh", lambda x: ops.eigh(x + x.mT), S),
    on("eig", lambda x: ops.real(ops.eig(x)[0]), S),
    on("svd", lambda x: ops.svd(x, full_matrices=False), C),
    on("norm", lambda x: ops.norm(x, ord=1, axis=-1), A),
    on("norm", lambda x: ops.norm(x, ord="nuc"), C),
    on("jvp", lambda x, y: ops.jvp(ops.sin, (x,), (y,)), A, B),
    on("fft", lambda x, y: ops.fft((x, y)), A, B),
    on("fft2", lambda x, y: ops.fft2((x, y)), A, B),
    on("ifft2", lambda x, y: ops.ifft2((x, y)), A, B),
    on("irfft", lambda x, y: ops.irfft((x, y)), A, B),
    on("istft", lambda x, y: ops.istft((x, y), 4, 2, 4), reals(4, 3), reals(4, 3)),
    on("imag", lambda x, y: ops.imag(torch.complex(x, y) ** 2), A, B),
    on("angle", lambda x, y: ops.angle(torch.complex(x, y)), A, B),
    on("view_as_real", lambda x, y: ops.view_as_real(torch.complex(x, y)), A, B),
    on("cast", lambda x: ops.cast(x, "complex128"), A),
    on("saturate_cast", lambda x: ops.saturate_cast(x, "float64"), A),
    on("moments", lambda x: ops.moments(x, [0]), A),
    on("layer_normalization", lambda x, g, b: ops.layer_normalization(x, g, b), A, reals(3), reals(3)),
    on("rms_normalization", lambda x, g: ops.rms_normalization(x, g), A, reals(3)),
    on(
        "batch_normalization",
        lambda x, m, v, b, g: ops.batch_normalization(x, m, v, -1, b, g),
        A,
        *[B[0] + i for i in range(4)],
    ),
    on("sparse_categorical_crossentropy", lambda x: ops.sparse_categorical_crossentropy([1, 2], x, True), A),
    on("sparse_categorical_crossentropy", lambda x: ops.sparse_categorical_crossentropy([1, 2], x), U),
    on("binary_crossentropy", lambda x: ops.binary_crossentropy(LABELS, x, from_logits=True), A),
    on("ctc_loss", lambda x: ops.ctc_loss([[1, 2]], x, [2], [4]), reals(1, 4, 3)),
    on("scatter", lambda x: ops.scatter(INDEX, x, (2, 3)), reals(3)),
    *[
        on("scatter_update", lambda x, y, how=how: ops.scatter_update(x, INDEX, y, reduction=how), D, D[0] + 0.01)
        for how in ("add", "mul", "max", "min")
    ],
    on("dot_product_attention", lambda x: ops.dot_product_attention(x, x, x, is_causal=True), QUERY),
    on("map", lambda x: ops.map(ops.sin, x), A),
    on("scan", lambda x: ops.scan(lambda total, y: (total * y, total + y), x[0], x), A),
    on("associative_scan", lambda x: ops.associative_scan(ops.multiply, x), A),
    on("fori_loop", lambda x: ops.fori_loop(0, 3, lambda i, y: y * ops.sin(y), x), A),
    on("while_loop", lambda x: ops.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y * y), (0, x))[1], A),
    on("cond", lambda x: ops.cond(True, lambda: x * x, lambda: x), A),
    on("switch", lambda x: ops.switch(1, [ops.sin, ops.cos], x), A),
    on("vectorize", lambda x: ops.vectorize(ops.sin)(x), A),
    on("custom_gradient", lambda x: ops.custom_gradient(doubled)(x), A),
]


def doubled(x: Any) -> Any:
    """Twice the values, with the rule for their gradient."""
    return x * 2, lambda upstream: upstream * 2


STEPS = each("sign signbit ceil floor round trunc zeros_like ones_like stop_gradient", A)
STEPS += each("heaviside floor_divide", A, B)
STEPS += [on("histogram", lambda x: ops.histogram(x, 3)[0], V)]
"""Constant between jumps, so that a gradient has nothing to say, or cut off on purpose."""
DISCRETE = [
    *each("argmax argmin argsort nanargmax nanargmin count_nonzero isfinite isinf isnan isneginf isposinf isreal", A),
    *each("logical_not nonzero all any shape size ndim matrix_rank", A),
    *each("equal greater greater_equal less less_equal not_equal isclose allclose isin", A, B),
    *each("logical_and logical_or logical_xor", A, B),
    *each("argpartition", A, kth=1),
    *each("searchsorted", V.sort().values, V),
    *each("digitize", A, V.sort().values),
    on("ctc_decode", lambda x: ops.ctc_decode(x, [4])[0], reals(1, 4, 3)),
    on("in_top_k", lambda x: ops.in_top_k([0, 1], x, 1), A),
    on("is_tensor dtype", lambda x: (ops.is_tensor(x), ops.dtype(x)), A),
]
"""Booleans, integers, names."""
INTEGERS = (
    "bitwise_and bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor gcd lcm "
)
INTEGERS += "left_shift right_shift bincount one_hot multi_hot unravel_index"
"""For integers only."""
CREATION = "arange bartlett blackman empty empty_like eye full hamming hanning identity kaiser ones tri zeros"
"""No tensor goes in whose values would be used."""
OTHERS = "unique nextafter view convert_to_numpy"
"""Keras gives no gradient either: values without duplicates, neighbours of floats, bits, NumPy."""


def test_every_public_op_is_accounted_for():
    spaces = (ops, ops.nn, ops.numpy, ops.linalg, ops.image)
    public = {
        name
        for space in spaces
        for name, value in vars(space).items()
        if isinstance(value, types.FunctionType)
        and not name.startswith("_")
        and hasattr(ops, name) | (space is ops.image)
    }
    cases = {part for name, *_ in (*SMOOTH, *STEPS, *DISCRETE) for part in name.split()}
    accounted = cases | set(f"{INTEGERS} {CREATION} {OTHERS}".split())
    assert public - accounted == set(), "ops without a case here"
    assert accounted - public == set(), "cases of no public op"


def label(case: Case) -> str:
    return case[0]


def is_real(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype is torch.float64


def bound(case: Case) -> tuple[Callable[..., Any], list[torch.Tensor]]:
    """A function of the float64 tensors among the arguments alone, and these; its results are those with a gradient."""
    _, function, args = case
    at = [i for i, x in enumerate(args) if is_real(x)]

    def partial(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        full = list(args)
        for i, x in zip(at, inputs, strict=True):
            full[i] = x
        return tuple(x for x in tree.flatten(function(*full)) if isinstance(x, torch.Tensor) and x.requires_grad)

    return partial, [args[i].clone().requires_grad_() for i in at]


IN_SINGLE = ("ctc_loss", "view_as_complex")


@pytest.mark.parametrize("case", SMOOTH, ids=label)
def test_first_derivatives(case):
    function, inputs = bound(case)
    assert function(*inputs)
    wide = case[0] not in IN_SINGLE
    assert gradcheck(function, inputs, eps=1e-6 if wide else 1e-2, atol=1e-6 if wide else 1e-3)


# Torch has no second derivative of its kernels, or the result is in single precision.
WITHOUT_SECOND = ("hard_sigmoid", "dot_product_attention", *IN_SINGLE)


@pytest.mark.parametrize("case", [case for case in SMOOTH if case[0] not in WITHOUT_SECOND], ids=label)
def test_second_derivatives(case):
    function, inputs = bound(case)
    assert gradgradcheck(function, inputs, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("case", STEPS, ids=label)
def test_steps_have_no_gradient_or_zero(case):
    function, inputs = bound(case)
    results = function(*inputs)
    if results:
        gradients = torch.autograd.grad([x.sum() for x in results], inputs, allow_unused=True)
        assert not any(x.any() for x in gradients[:1] if x is not None)


@pytest.mark.parametrize("case", DISCRETE, ids=label)
def test_discrete_results_carry_no_gradient(case):
    function, inputs = bound(case)
    assert function(*inputs) == ()
    results = tree.flatten(case[1](*inputs))
    assert all(not (isinstance(x, torch.Tensor) and (x.is_floating_point() or x.is_complex())) for x in results)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    "name", "exp tanh sigmoid gelu softplus silu softmax log_softmax logsumexp var std norm normalize mean prod".split()
)
def test_gradients_in_fewer_bits_are_those_of_float64(name, dtype):
    wide, narrow = (A.to(getattr(torch, kind), copy=True).requires_grad_() for kind in ("float64", dtype))
    exact, found = (torch.autograd.grad(of(name)(x).sum(), x)[0] for x in (wide, narrow))
    assert found.dtype is narrow.dtype
    size = max(exact.abs().max().item(), 1e-2)
    assert (found.double() - exact).abs().max() < 12 * torch.finfo(narrow.dtype).eps * max(size, 1)


def test_logsumexp_of_large_values_in_16_bits():
    x = torch.full((2,), 100.0, dtype=torch.bfloat16, requires_grad=True)
    ops.logsumexp(x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, 0.5]


INF, NAN = math.inf, math.nan
# The op, its arguments, the gradients. Where there are several slopes or none, one of those between; never NaN.
EDGES: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    *[(name, ([0.0],), ([0.0],)) for name in "relu relu6 abs fabs square sign sinc hard_shrink soft_shrink".split()],
    *[(name, ([0.0],), ([0.5],)) for name in "gelu silu softplus squareplus sparse_plus log_sigmoid".split()],
    *[(name, ([0.0],), ([1.0],)) for name in "elu celu softsign tanh arcsinh hard_tanh".split()],
    *[(name, ([-1000.0, 1000.0],), ([0.0, 1.0],)) for name in "softplus silu elu celu gelu sparse_plus".split()],
    *[(name, ([-1000.0, 1000.0],), ([0.0, 0.0],)) for name in "sigmoid tanh softsign hard_sigmoid erf".split()],
    ("log_sigmoid", ([-1000.0, 1000.0],), ([1.0, 0.0],)),
    ("sqrt", ([0.0, 4.0],), ([INF, 0.25],)),
    ("log1p", ([0.0, -1.0],), ([1.0, INF],)),
    *[(name, ([0.0, 0.0],), ([0.0, 0.0],)) for name in "norm std nanstd var".split()],
    *[(name, ([3.0, 3.0, 3.0],), ([0.0, 0.0, 0.0],)) for name in "std nanstd var nanvar".split()],
    *[("norm", ([0.0, 0.0], order), ([0.0, 0.0],)) for order in (1, 2, 3, 0.5, INF, -INF)],
    ("norm", ([[0.0, 0.0]], "fro"), ([[0.0, 0.0]],)),
    *[("normalize", ([0.0, 0.0], -1, order), ([1e7, 1e7],)) for order in (2, 3)],
    ("cdist", ([[1.0, 2.0]], [[1.0, 2.0]]), ([[0.0, 0.0]], [[0.0, 0.0]])),
    ("hypot", ([0.0, 3.0], [0.0, 4.0]), ([0.0, 0.6], [0.0, 0.8])),
    *[(name, ([2.0, 2.0, 1.0],), ([0.5, 0.5, 0.0],)) for name in "amax max nanmax".split()],
    *[(name, ([2.0, 2.0, 3.0],), ([0.5, 0.5, 0.0],)) for name in "amin min nanmin".split()],
    *[(name, ([1.0], [1.0]), ([0.5], [0.5])) for name in "maximum minimum logaddexp".split()],
    ("clip", ([0.0, 1.0, 2.0], 0.0, 1.0), ([1.0, 1.0, 0.0],)),
    ("prod", ([0.0, 2.0, 3.0],), ([6.0, 0.0, 0.0],)),
    ("prod", ([0.0, 0.0, 3.0],), ([0.0, 0.0, 0.0],)),
    ("cumprod", ([0.0, 2.0, 3.0],), ([9.0, 0.0, 0.0],)),
    ("logsumexp", ([-INF, 0.0],), ([0.0, 1.0],)),
    ("logaddexp", ([-INF], [0.0]), ([0.0], [1.0])),
    ("log_softmax", ([[-1000.0, 0.0]],), ([[1.0, -1.0]],)),
    ("nanmean", ([NAN, NAN],), ([0.0, 0.0],)),
    ("nanmean", ([NAN, 2.0],), ([0.0, 1.0],)),
    ("nansum", ([NAN, 2.0],), ([0.0, 1.0],)),
    ("nan_to_num", ([NAN, INF, 1.0],), ([0.0, 0.0, 1.0],)),
    ("divide_no_nan", ([1.0], [0.0]), ([0.0], [0.0])),
    ("power", ([0.0, 0.0, -2.0], 2.0), ([0.0, 0.0, -4.0],)),
    ("power", ([0.0], [2.0]), ([0.0], [0.0])),
    ("power", ([0.0], 0.0), ([0.0],)),
    ("arctan2", ([0.0], [0.0]), ([0.0], [0.0])),
    ("heaviside", ([0.0, 1.0], [0.5, 0.5]), ([0.0, 0.0], [1.0, 0.0])),
]


@pytest.mark.parametrize("case", EDGES, ids=label)
def test_gradients_at_edges(case):
    name, args, expected = case
    args = [torch.tensor(x).requires_grad_() if isinstance(x, list) else x for x in args]
    inputs = [x for x in args if isinstance(x, torch.Tensor)]
    total = of(name)(*args).sum()
    found = torch.autograd.grad(total, inputs, allow_unused=True) if total.requires_grad else [None] * len(inputs)
    for x, gradient, wanted in zip(inputs, found, expected, strict=True):
        gradient = torch.zeros_like(x) if gradient is None else gradient
        torch.testing.assert_close(gradient, torch.tensor(wanted))


def test_sparsemax_of_infinities_does_not_fail():
    assert ops.sparsemax(torch.tensor([[INF, 0.5]])).shape == (1, 2)


DECIDED_BY_VALUES = ("while_loop", "elastic_transform", "nonzero", "allclose", "is_tensor dtype", "ctc_decode")
TRACED = {case[0]: case for case in (*SMOOTH, *STEPS, *DISCRETE) if case[0] not in DECIDED_BY_VALUES}


@pytest.mark.parametrize("case", TRACED.values(), ids=label)
def test_traced_ops_give_what_eager_ones_give(case):
    _, function, args = case
    tensors = [x for x in args if isinstance(x, torch.Tensor)]

    def flat(*inputs: torch.Tensor) -> list[Any]:
        rest = iter(inputs)
        return tree.flatten(function(*[next(rest) if isinstance(x, torch.Tensor) else x for x in args]))

    for found, expected in zip(make_fx(flat)(*tensors)(*tensors), flat(*tensors), strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("name", ["hypot", "cdist", "logaddexp", "append", "divide_no_nan"])
def test_compiled_ops_give_what_eager_ones_give(name):
    torch.compiler.reset()
    inputs = [x.clone().requires_grad_() for x in (A, B)]
    compiled = torch.compile(of(name), backend="aot_eager", fullgraph=True)
    found, expected = compiled(*inputs), of(name)(*inputs)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(expected.sum(), inputs))
