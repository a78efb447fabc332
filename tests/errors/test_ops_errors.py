"""What ops, initializers, activations, regularizers and constraints say about what they cannot use."""

import pytest
import torch
from tests.errors.refusing import refused
from torch.fx.experimental.proxy_tensor import make_fx

from lamina import Input, activations, initializers, ops, random, regularizers
from lamina.core.errors import ArgumentError, ArgumentTypeError, DTypeError, LaminaError, ShapeError, UnsupportedError

X, Y, COUNTS = torch.ones(2, 3), torch.ones(2, 4), torch.ones(2, 3).int()
UNKNOWN = Input((None, None))


def traced_off_the_cpu():
    with torch.device("meta"):
        make_fx(lambda x: random.uniform((3,), seed=3))(X)


EAGER = [
    (lambda: ops.einsum("ij,jk->iz", X, X.T), LaminaError, "einsum"),
    (lambda: ops.einsum(5, X), ArgumentTypeError, "op einsum"),
    (lambda: ops.concatenate(5), ArgumentTypeError, "op concatenate"),
    (lambda: ops.concatenate([]), ArgumentError, "at least one tensor"),
    (lambda: ops.split(X, "a"), ArgumentError, "op split"),
    (lambda: ops.split(X, 0), ArgumentError, "op split"),
    (lambda: ops.sum(X, axis="a"), ArgumentError, "axis='a'"),
    (lambda: ops.one_hot([0, 1], "a"), ArgumentTypeError, "num_classes"),
    (lambda: ops.cond(True, 5, 6), ArgumentTypeError, "true_fn"),
    (lambda: ops.map(5, X), ArgumentTypeError, "f(x) -> y"),
    (lambda: ops.convert_to_tensor([1, "a"]), ArgumentTypeError, "a list of numbers"),
    (lambda: ops.convert_to_tensor(None), ArgumentTypeError, "a list of numbers"),
    (lambda: ops.zeros("a"), ArgumentTypeError, "a sequence of integers"),
    (lambda: ops.ones((2.5,)), ArgumentTypeError, "a sequence of integers"),
    (lambda: ops.softmax(X, axis=4), ArgumentError, "-2 <= axis < 2"),
    (lambda: ops.scan(5, 0, X), ArgumentTypeError, "f(carry, x) -> (carry, y)"),
    (lambda: ops.scan(lambda a, b: (a, b), 0, X, unroll=0), ArgumentError, "an integer >= 1"),
    (lambda: ops.scan(lambda a, b: (a, b), 0), ArgumentError, "length=..."),
    (lambda: ops.associative_scan(5, X), ArgumentTypeError, "f(a, b) -> c"),
    (lambda: ops.associative_scan(lambda a, b: a, [X, torch.ones(3)]), ShapeError, "2 elements along axis 0"),
    (lambda: ops.conv(torch.ones(1, 8, 8, 3), torch.ones(3, 3, 2, 5)), ShapeError, "a divisor of 3"),
    (lambda: ops.conv(X, torch.ones(3, 3, 2)), ShapeError, "one to three spatial"),
    (lambda: ops.unfold(X, 2), ShapeError, "ops.unfold"),
    (lambda: ops.eye("a"), ArgumentTypeError, "ops.eye(rows)"),
    (lambda: ops.hanning(Input(())), ArgumentTypeError, "a number"),
    (lambda: ops.hanning(-1), ArgumentError, "at least 0"),
    (lambda: ops.glu(X), ShapeError, "an even size"),
    (lambda: ops.ldexp(X, X), DTypeError, "2**x2"),
    (lambda: ops.multi_hot([0, 1]), ArgumentError, "num_classes"),
    (lambda: ops.categorical_crossentropy(1.0, 1.0), ShapeError, "(..., classes)"),
    (lambda: ops.sparse_categorical_crossentropy(1, 1.0), ShapeError, "(..., classes)"),
    (lambda: ops.categorical_crossentropy(X, Y), ShapeError, "where: target"),
    (lambda: ops.where(X > 0, X), ArgumentError, "ops.where(condition, x1, x2)"),
    (lambda: ops.select([X > 0], [X, X]), ArgumentError, "1 choices"),
    (lambda: ops.vectorize(5), ArgumentTypeError, "a function of elements"),
    (lambda: ops.vectorize(lambda a, b: a, signature="(n),(n)->(n)")(X), ArgumentError, "(n),(n)->(n)"),
    (lambda: ops.digitize(X, X), ShapeError, "one axis"),
    (lambda: ops.diag(torch.ones(2, 2, 2)), ShapeError, "ops.diagonal(x)"),
    (lambda: ops.cholesky(-torch.eye(2)), ArgumentError, "1e-6"),
    (lambda: ops.inv(torch.zeros(2, 2)), ArgumentError, "ops.pinv(x)"),
    (lambda: ops.solve(torch.zeros(2, 2), torch.ones(2)), ArgumentError, "ops.lstsq(a, b)"),
    (lambda: ops.lstsq(X, torch.ones(5)), ShapeError, "b of shape (n,)"),
    (lambda: ops.qr(X, mode="full"), ArgumentError, "'reduced' or 'complete'"),
    (lambda: ops.istft(([X], X), 4, 2, 4), LaminaError, "shape"),
    (lambda: ops.fft(X), ArgumentError, "(real, imaginary)"),
    (lambda: ops.fft((X, Y)), ShapeError, "one shape for both"),
    (lambda: ops.fft((COUNTS, COUNTS)), ArgumentError, "float dtypes"),
    (lambda: ops.stft(torch.ones(64), 8, 4, 8, window="han"), ArgumentError, 'Did you mean "hann"?'),
    (lambda: ops.stft(torch.ones(64), 8, 4, 8, window=torch.ones(5)), ShapeError, "(8,)"),
    (lambda: ops.stft(torch.ones(64).int(), 8, 4, 8), DTypeError, "ops.cast(x, 'float32')"),
    (lambda: ops.stft(torch.ones(64), 8, 0, 8), ArgumentError, "an integer >= 1"),
    (lambda: ops.moments(X, 0, synchronized=True), ArgumentError, "BatchNormalization(synchronized=True)"),
    (lambda: ops.normalize(X, order=0), ArgumentError, "ops.normalize(order=...)"),
    (lambda: ops.layer_normalization(X, gama=1), ArgumentTypeError, 'Did you mean "gamma"?'),
    (lambda: ops.dot_product_attention(*[torch.ones(2, n, 2, 4) for n in (5, 5, 6)]), ShapeError, "a key for each"),
    (lambda: ops.dot_product_attention(*[torch.ones(2, 5, n, 4) for n in (3, 2, 2)]), ShapeError, "multiple of the 2"),
    (lambda: ops.rot90(torch.ones(3)), ShapeError, "two axes"),
    (lambda: ops.rot90(X, axes=(0, 0)), ArgumentError, "(0, 1)"),
    (lambda: ops.rearrange(X, "a b -> a c"), ArgumentError, "each axis once"),
    (lambda: ops.rearrange(X, "(a b) c -> a b c"), ArgumentError, "name its size"),
    (lambda: ops.image.crop_images(torch.ones(4, 4, 3), -1, 0, target_height=2, target_width=4), ArgumentError, ">= 0"),
    (lambda: ops.pad(X, 1, mode="reflec"), ArgumentError, 'Did you mean "reflect"?'),
    (lambda: ops.pad(X, 1, mode="reflect", constant_values=1), ArgumentError, "leave constant_values out"),
    (lambda: ops.pad(X, [(1, 1)] * 3), ArgumentError, "2 pairs"),
    (lambda: ops.meshgrid(X[0], X[0], indexing="yx"), ArgumentError, "'xy' or 'ij'"),
    (lambda: ops.squeeze(X, 1), ShapeError, "axes of size 1"),
    (lambda: ops.bincount([1], sparse=True), ArgumentError, "leave sparse out"),
    (lambda: ops.histogram(X[0], bins="a"), ArgumentTypeError, "an integer >= 0"),
    (lambda: ops.histogram(X[0], bins=-1), ArgumentError, "an integer >= 0"),
    (lambda: ops.histogram(X[0], range=(2, 1)), ArgumentError, "upper edge"),
    (lambda: ops.histogram(X), ShapeError, "ops.ravel(x)"),
    (lambda: ops.correlate(X[0], X[0], mode="ful"), ArgumentError, 'Did you mean "full"?'),
    (lambda: ops.correlate(X, X), ShapeError, "one axis each"),
    (lambda: ops.scatter_update(X, [[0, 0]], [1.0], reduction="sum"), ArgumentError, "None or 'add'"),
    (lambda: ops.ctc_decode(torch.ones(1, 3, 4), [3], strategy="greed"), ArgumentError, 'Did you mean "greedy"?'),
    (lambda: random.normal((2,), dtype="int32"), ArgumentError, "another float dtype"),
    (lambda: random.randint((2,), 0, 5, dtype="float32"), ArgumentError, "another integer dtype"),
    (lambda: random.categorical(torch.ones(3), 2), ArgumentError, "(batch, classes)"),
    (lambda: random.dropout(X, 2), ArgumentError, "random.dropout(rate=...)"),
    (traced_off_the_cpu, UnsupportedError, "do not capture this step"),
]  # fmt: skip

SYMBOLIC = [
    (lambda: ops.einsum("bij->bz", UNKNOWN), ShapeError, "letters of these"),
    (lambda: ops.einsum("bij,bjk", UNKNOWN), ShapeError, "1 terms"),
    (lambda: ops.matmul(Input(batch_shape=(2, 3)), Input(batch_shape=(2, 3))), ShapeError, "equal sizes"),
    (lambda: ops.matmul(Input((3,)), 5), ShapeError, "multiply by numbers with *"),
    (lambda: ops.cross(Input((4,)), Input((4,))), ShapeError, "2 or 3 numbers"),
    (lambda: ops.add(Input((3,)), Input((4,))), ShapeError, "or one of them 1"),
    (lambda: ops.stack([Input((3,)), Input((4,))]), ShapeError, "one shape for all"),
    (lambda: ops.concatenate([Input((3,)), Input((4,))], axis=0), ShapeError, "all axes but 0"),
    (lambda: ops.take_along_axis(Input((3,)), Input((3, 4)), axis=1), ShapeError, "indices of 2 axes"),
    (lambda: ops.unstack(UNKNOWN, axis=1), ShapeError, "num=..."),
    (lambda: ops.qr(UNKNOWN), ShapeError, "fixed sizes"),
    (lambda: Input((3,))["a"], ArgumentTypeError, "get_item"),
    (lambda: ops.broadcast_to(Input((3,)), "a"), ArgumentTypeError, "a sequence of integers"),
]

OTHERS = [
    (lambda: activations.get(5), LaminaError, "activation"),
    (lambda: activations.get("rellu"), ArgumentError, 'Did you mean "relu"?'),
    (lambda: initializers.RandomNormal()((2,), dtype="int32"), DTypeError, '"zeros" or "ones"'),
    (lambda: initializers.VarianceScaling(scale="a"), ArgumentError, "a number above 0"),
    (lambda: initializers.VarianceScaling(mode="fan_inn"), ArgumentError, 'Did you mean "fan_in"?'),
    (lambda: initializers.VarianceScaling(distribution="uniforn"), ArgumentError, 'Did you mean "uniform"?'),
    (lambda: initializers.get(X)((5,)), ShapeError, "initializer given as an array"),
    (lambda: initializers.Initializer()((2,)), UnsupportedError, "def __call__(self, shape, dtype=None)"),
    (lambda: initializers.STFT(side="imaginary"), ArgumentError, "'real' or 'imag'"),
    (lambda: regularizers.L1L2(l1="a"), ArgumentError, "a finite number >= 0"),
    (lambda: regularizers.OrthogonalRegularizer(mode="row"), ArgumentError, 'Did you mean "rows"?'),
]


@pytest.mark.parametrize("call, kind, words", EAGER)
def test_eager(call, kind, words):
    refused(call, kind, words)


@pytest.mark.parametrize("call, kind, words", SYMBOLIC)
def test_symbolic(call, kind, words):
    refused(call, kind, words)


@pytest.mark.parametrize("call, kind, words", OTHERS)
def test_others(call, kind, words):
    refused(call, kind, words)


def test_errors_of_functions_that_are_passed_in_stay_what_they_are():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ops.map(fails, X)


def test_errors_of_torch_name_the_op():
    with pytest.raises(IndexError) as caught:
        ops.take(X, [0, 7], axis=0)
    assert "in op take, called with shape (2, 3)" in caught.value.__notes__[0]
