"""Lookup between pixels, and affine, perspective and elastic transforms, where Keras on torch cannot be asked."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lamina.core.errors import ArgumentError, ShapeError
from lamina.core.seeds import SeedGenerator
from lamina.graph.tensor import KerasTensor
from lamina.ops import image

GRID = torch.arange(12.0).reshape(3, 4, 1)
CORNERS = torch.tensor([[0.0, 0], [5, 0], [0, 3], [5, 3]])
MOVED = torch.tensor([[-1.5, 0.0], [5, 0], [0, 3], [6.5, 3]])


def test_affine_transforms_may_be_projective():
    # Keras on torch adds c0 and c1 to the wrong coordinates; the formula it documents holds on TensorFlow.
    result = image.affine_transform(GRID, [1, 0, 0.5, 0, 1, 0.25, 0.1, 0.2])
    expected = [1.5, 2.272727, 2.916667, 3.461539, 4.583333, 5, 5.357143, 5.666667, 6.785715, 7, 7.1875, 7.352941]
    torch.testing.assert_close(result.flatten(), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_one_transform_serves_a_batch_and_stays_as_it_is():
    # Keras on torch fails on the first and writes into the argument.
    x, transform = torch.rand(3, 5, 6, 2), torch.tensor([0.9, 0.2, 1, -0.1, 1.1, 0.3, 0, 0])
    kept = transform.clone()
    result = image.affine_transform(x, transform)
    assert torch.equal(result, image.affine_transform(x, transform.expand(3, 8)))
    assert torch.equal(result[1], image.affine_transform(x[1], transform))
    assert torch.equal(transform, kept)


def test_points_of_integer_images_are_not_integers():
    # Keras on torch casts points to the dtype of the images: -1.5 becomes 255. The numbers are those of TensorFlow.
    x = (torch.arange(24.0) * 10).reshape(4, 6, 1)
    expected = [11.538, 19.231, 26.923, 34.615, 42.308, 50, 67.692, 75.385, 83.077, 90.769, 98.462, 106.154]
    expected += [123.846, 131.538, 139.231, 146.923, 154.615, 162.308, 180, 187.692, 195.385, 203.077, 210.769, 218.462]
    exact = image.perspective_transform(x, CORNERS, MOVED)
    torch.testing.assert_close(exact.flatten(), torch.tensor(expected), atol=1e-3, rtol=1e-5)
    assert torch.equal(image.perspective_transform(x.to(torch.uint8), CORNERS, MOVED), exact.round().to(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_wide_images_of_short_dtypes(dtype):
    x = torch.randint(0, 200, (1, 3, 400, 1)).to(dtype)
    corners = torch.tensor([[0.0, 0], [399, 0], [0, 2], [399, 2]])
    assert torch.equal(image.perspective_transform(x, corners, corners, "nearest"), x)
    assert torch.equal(image.affine_transform(x, [1, 0, 0, 0, 1, 0, 0, 0], "nearest"), x)


def test_the_horizon_lies_outside():
    result = image.affine_transform(GRID, [1, 0, 1, 0, 1, 0, -0.5, 0], fill_value=7.0)
    assert result[:, 2].eq(7).all() and result.isfinite().all()


@pytest.mark.parametrize("fill_mode", ["nearest", "wrap", "mirror", "reflect"])
def test_an_axis_of_one_element_has_that_everywhere(fill_mode):
    places = torch.tensor([[-2.0, -0.5, 0, 0.5, 3]])
    assert image.map_coordinates(torch.tensor([4.0]), places, 1, fill_mode).eq(4).all()


def test_map_coordinates_takes_lists():
    places = torch.rand(2, 5) * 3
    x = torch.rand(4, 4)
    assert torch.equal(image.map_coordinates(x, list(places), 1), image.map_coordinates(x, places, 1))


def test_elastic_noise_follows_its_seed():
    x = torch.rand(2, 12, 10, 3)
    first, again, other = (image.elastic_transform(x, 4.0, 1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    generator = SeedGenerator(3)
    assert image.elastic_transform(KerasTensor((None, 12, 10, 3)), seed=generator).shape == (None, 12, 10, 3)
    drawn = [image.elastic_transform(x, 4.0, 1.0, seed=generator) for _ in range(2)]
    assert not torch.equal(*drawn)
    assert torch.equal(drawn[0], image.elastic_transform(x, 4.0, 1.0, seed=SeedGenerator(3)))


def test_elastic_transform_of_integers_and_of_one_row():
    # Keras on torch cannot draw noise for integers.
    x = torch.randint(0, 255, (2, 9, 8, 3), dtype=torch.uint8)
    exact = image.elastic_transform(x.float(), 3.0, 1.0, seed=1)
    result = image.elastic_transform(x, 3.0, 1.0, seed=1)
    assert result.dtype is torch.uint8 and torch.equal(result, exact.round().to(torch.uint8))
    assert image.elastic_transform(x[:, :1], seed=1).shape == (2, 1, 8, 3)


def test_elastic_sigma_may_be_a_tensor_or_nothing():
    x = torch.rand(2, 9, 8, 3)
    exact = image.elastic_transform(x, 3.0, 1.7, seed=1)
    result = image.elastic_transform(x, torch.tensor(3.0), torch.tensor(1.7), seed=1)
    torch.testing.assert_close(result, exact)
    assert torch.equal(image.elastic_transform(x, 3.0, 0.0, seed=1), x)


IDENTITY = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0])
RANK2 = torch.ones(4, 4)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: image.affine_transform(RANK2, IDENTITY), ShapeError, "affine_transform.*three axes.*\\(4, 4\\)"),
        (lambda: image.affine_transform(GRID, IDENTITY[:6]), ShapeError, "transform.*\\(batch, 8\\).*\\(6,\\)"),
        (lambda: image.affine_transform(GRID, IDENTITY.expand(2, 8)), ShapeError, "affine_transform.*expected: 1"),
        (lambda: image.affine_transform(GRID, IDENTITY, "bicubic"), ArgumentError, "affine_transform, interpolation"),
        (lambda: image.affine_transform(GRID, IDENTITY, fill_mode="x"), ArgumentError, "affine_transform, fill_mode"),
        (lambda: image.perspective_transform(RANK2, CORNERS, MOVED), ShapeError, "perspective_transform.*three axes"),
        (lambda: image.perspective_transform(GRID, CORNERS[:3], MOVED[:3]), ShapeError, "\\(4, 2\\).*\\(3, 2\\)"),
        (lambda: image.perspective_transform(GRID, CORNERS[None], MOVED), ShapeError, "both of shape"),
        (lambda: image.perspective_transform(GRID, CORNERS, MOVED, "cubic"), ArgumentError, "interpolation"),
        (lambda: image.elastic_transform(RANK2), ShapeError, "elastic_transform"),
        (lambda: image.elastic_transform(GRID, interpolation="cubic"), ArgumentError, "elastic_transform"),
        (lambda: image.elastic_transform(GRID, fill_mode="cubic"), ArgumentError, "elastic_transform, fill_mode"),
        (lambda: image.map_coordinates(RANK2, torch.ones(3, 2), 1), ShapeError, "map_coordinates.*\\(2, ...\\)"),
        (lambda: image.map_coordinates(RANK2, torch.ones(2), 1), ShapeError, "at least two axes"),
        (lambda: image.map_coordinates(RANK2, torch.ones(2, 2), 2), ArgumentError, "map_coordinates, order.*0 or 1"),
        (lambda: image.map_coordinates(RANK2, torch.ones(2, 2), 1, "wrpa"), ArgumentError, '"wrap"'),
        (lambda: image.map_coordinates(KerasTensor((2, 3)), KerasTensor((3, 1)), 1), ShapeError, "map_coordinates"),
    ],
)
def test_errors_say_what_was_expected(call, error, told):
    with pytest.raises(error, match=f"(?s){told}"):
        call()


def test_symbolic_batches_meet_known_ones():
    assert image.affine_transform(KerasTensor((None, 5, 6, 3)), KerasTensor((2, 8))).shape == (None, 5, 6, 3)


def _affine(x, transform):
    return image.affine_transform(x, transform, fill_mode="mirror")


def _lookup(x, places):
    return image.map_coordinates(x, places, 1, fill_value=0.5)


CASES = {
    "affine": (_affine, (2, 4, 5, 1), torch.tensor([0.91, 0.22, 0.37, -0.13, 1.07, 0.41, 0.01, 0.02])),
    "lookup": (_lookup, (4, 5), torch.tensor([[-0.61, 0.3, 2.23, 3.4], [0.17, 4.4, 2.6, 1.13]])),
    "perspective": (
        lambda x, start: image.perspective_transform(x, start, MOVED.double()),
        (2, 4, 5, 1),
        CORNERS + torch.tensor([[0.11, 0.23], [0.17, -0.29], [0.31, 0.13], [-0.07, 0.19]]),
    ),
}


@pytest.mark.parametrize(("call", "shape", "where"), CASES.values(), ids=CASES)
def test_gradients_and_tracing(call, shape, where):
    x, where = torch.rand(shape).double().requires_grad_(), where.double().requires_grad_()
    assert torch.autograd.gradcheck(call, (x, where))
    x, where = x.detach(), where.detach()
    torch.testing.assert_close(make_fx(call)(x, where)(x, where), call(x, where))
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="aot_eager")(x, where), call(x, where))


def test_elastic_transform_is_traced_with_numbers_known_later():
    def call(x, alpha, sigma):
        return image.elastic_transform(x, alpha, sigma)

    x, alpha, sigma = torch.rand(2, 6, 7, 3), torch.tensor(2.0), torch.tensor(1.5)
    traced = make_fx(call)(x, alpha, sigma)
    torch.manual_seed(0)
    expected = call(x, alpha, torch.tensor(0.7))
    torch.manual_seed(0)
    torch.testing.assert_close(traced(x, alpha, torch.tensor(0.7)), expected)
    x.requires_grad_()
    call(x, 2.0, 1.0).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
