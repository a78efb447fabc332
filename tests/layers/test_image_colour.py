"""Layers that change, mix and choose the colours of images: what is drawn, what is taken, what is refused."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina import layers
from lamina.core import tree
from lamina.core.errors import ArgumentError, ShapeError, UnsupportedError
from lamina.core.serialization import deserialize_keras_object, serialize_keras_object
from lamina.graph.tensor import KerasTensor
from lamina.training.capture import capture
from lamina.training.compiler import _rebuilt
from lamina.training.prepare import build_optimizer, prepare_batch, state_of, whole_state

EVERY: dict[str, dict[str, Any]] = {
    "RandomBrightness": {"factor": 0.4},
    "RandomContrast": {"factor": 0.4},
    "RandomHue": {"factor": 0.8},
    "RandomSaturation": {"factor": 0.7},
    "RandomSharpness": {"factor": 1.0},
    "RandomInvert": {},
    "RandomPosterization": {"factor": 6},
    "RandomColorDegeneration": {"factor": 0.6},
    "RandomGrayscale": {},
    "Solarization": {"addition_factor": 0.3, "threshold_factor": 0.8},
    "RandomGaussianBlur": {},
    "RandomErasing": {},
    "RandomColorJitter": {
        "brightness_factor": 0.3,
        "contrast_factor": 0.3,
        "saturation_factor": 0.4,
        "hue_factor": 0.2,
    },
    "Equalization": {},
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (3, 2)},
    "MixUp": {},
    "CutMix": {},
    "RandAugment": {},
    "AugMix": {"num_chains": 2, "chain_depth": 2},
}
STEADY = ("Equalization", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization")
KEEPS_DTYPE = ("RandomGrayscale", "ContrastLimitedAdaptiveHistogramEqualization")
DRAWN = [name for name in EVERY if name not in STEADY]
FIRST = {"data_format": "channels_first"}


def make(name: str, **more: Any) -> Any:
    return getattr(layers, name)(**{**EVERY[name], **more})


def pictures(batch: int = 4, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).uniform(0, 255, (batch, 12, 10, 3))
    return torch.from_numpy(values.astype("float32"))


@pytest.mark.parametrize("name", EVERY)
def test_shapes_dtypes_and_modes(name: str) -> None:
    images = pictures()
    layer = make(name)
    for data in (images, images[0], images.numpy(), images.to(torch.uint8), images.to(torch.uint8).numpy()[1]):
        kept = copy.deepcopy(data)
        result = layer(data)
        assert result.shape == data.shape
        is_byte = "uint8" in str(data.dtype)
        assert result.dtype is (torch.uint8 if is_byte and name in KEEPS_DTYPE else torch.float32)
        assert np.array_equal(np.asarray(data), np.asarray(kept)), "the input was changed"
        assert layer(data, training=False).dtype is result.dtype
        if name not in ("AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization"):
            assert torch.equal(layer(data, training=False), torch.as_tensor(data).to(result.dtype))
    with pytest.raises(ShapeError):
        layer(torch.ones(12, 10))


@pytest.mark.parametrize("name", EVERY)
def test_formats_agree(name: str) -> None:
    """The layer of the other data format does the same to images laid out so."""
    images = pictures()
    last, first = make(name), make(name, **FIRST)
    if name in STEADY:
        drawn = twin = None
    elif name in ("RandAugment", "AugMix"):
        return
    else:
        drawn = last.get_random_transformation(images)
        twin = tree.map_structure(lambda x: x.movedim(-1, 1) if x.ndim == 4 else x, drawn)
    other = first.transform_images(images.movedim(-1, 1), twin).movedim(1, -1)
    torch.testing.assert_close(other, last.transform_images(images, drawn), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", EVERY)
def test_symbols(name: str) -> None:
    for shape in ((None, 12, 10, 3), (None, None, None, 3), (4, 12, 10, 3)):
        symbol = make(name)(KerasTensor(shape))
        assert (symbol.shape, symbol.dtype) == (shape, "float32")
    assert tuple(make(name).compute_output_shape((None, 12, 10, 3))) == (None, 12, 10, 3)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", EVERY)
def test_policies(name: str, policy: str) -> None:
    result = make(name, dtype=policy)(pictures())
    assert str(result.dtype) == f"torch.{policy.removeprefix('mixed_')}"
    assert bool(torch.isfinite(result.float()).all())


@pytest.mark.parametrize("name", DRAWN)
def test_seeds(name: str) -> None:
    """A seed gives the same series, its copies too; each call draws anew."""
    images = pictures()
    layer = make(name, seed=5)
    series = [layer(images) for _ in range(6)]
    for twin in (make(name, seed=5), type(layer).from_config(json.loads(json.dumps(layer.get_config())))):
        assert all(torch.equal(twin(images), result) for result in series)
    assert any(not torch.equal(result, series[0]) for result in series[1:])
    clone = pickle.loads(pickle.dumps(layer))
    assert torch.equal(clone(images), layer(images))
    whole = deserialize_keras_object(json.loads(json.dumps(serialize_keras_object(layer))))
    assert type(whole) is type(layer) and whole.get_config() == layer.get_config()


@pytest.mark.parametrize("name", EVERY)
def test_dicts(name: str) -> None:
    more = {} if name == "CutMix" else {"bounding_box_format": "xyxy"}
    layer = make(name, **more)
    masks = torch.zeros(4, 12, 10, 1)
    data = {"images": pictures(), "labels": torch.eye(4), "segmentation_masks": masks, "other": 3}
    if more:
        boxes = torch.tensor([[[1.0, 1, 5, 6], [2, 3, 4, 8]]]).expand(4, 2, 4)
        data["bounding_boxes"] = {"boxes": boxes, "labels": torch.ones(4, 2)}
    result = layer(data)
    assert result["images"].shape == data["images"].shape and result["other"] == 3
    assert result["labels"].shape == (4, 4) and result["segmentation_masks"].shape == masks.shape
    assert bool((result["segmentation_masks"] == 0).all())
    if more:
        count = 4 if name == "MixUp" else 2
        assert result["bounding_boxes"]["boxes"].shape == (4, count, 4)
        assert result["bounding_boxes"]["labels"].shape == (4, count)
    assert set(data) == set(result)
    assert torch.equal(data["images"], pictures())
    if name not in ("MixUp", "CutMix"):
        one = layer({"images": data["images"][0], "labels": data["labels"][0]})
        assert torch.equal(one["labels"], data["labels"][0])


def test_boxes_cannot_be_cut() -> None:
    data = {"images": pictures(), "bounding_boxes": {"boxes": torch.ones(4, 1, 4), "labels": torch.ones(4, 1)}}
    with pytest.raises(UnsupportedError, match="MixUp"):
        layers.CutMix(bounding_box_format="xyxy")(data)


def _model(layer: Any) -> tuple[Any, Any]:
    """A model that begins with the layer, ready to be trained on a batch."""
    batch = pictures(), torch.ones(4, 1)
    model = lamina.Sequential([layers.Input((12, 10, 3)), layer, layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    prepare_batch(model, batch, "fit")
    build_optimizer(model)
    return model.train(), batch


SMALL = {"RandAugment": {"num_ops": 1}, "AugMix": {"num_chains": 1, "chain_depth": 1}}


@pytest.mark.parametrize("name", EVERY)
def test_a_step_with_it_is_traced(name: str) -> None:
    """No value is read in Python, and what is drawn is drawn by the graph."""
    model, batch = _model(make(name, **SMALL.get(name, {})))
    made = capture(whole_state(model, state_of(model)), "train", batch)
    function = _rebuilt(json.loads(made.graph.text))
    before = [weight.clone() for weight in model.weights]
    with torch.no_grad():
        function(*made.state, *batch, *made.graph.constants)
    assert all(bool(torch.isfinite(weight).all()) for weight in model.weights)
    assert not torch.equal(model.weights[0], before[0])


# What is drawn.

DRAWS = 4000


def _spread(values: torch.Tensor, low: float, high: float) -> None:
    """Evenly between two ends: mean and variance within four standard errors."""
    values = values.double().flatten()
    assert low <= float(values.min()) and float(values.max()) <= high
    width = high - low
    assert abs(float(values.mean()) - (low + high) / 2) < 4 * width / (12 * len(values)) ** 0.5
    assert abs(float(values.var()) - width**2 / 12) < 4 * width**2 / 12 * (0.8 / len(values)) ** 0.5


def _drawn(layer: Any) -> Any:
    return layer.get_random_transformation(torch.zeros(DRAWS, 2, 2, 3))


def test_draws_of_factors() -> None:
    _spread(_drawn(layers.RandomBrightness((-0.2, 0.6), seed=1))["rgb_delta"], -51.0, 153.0)
    _spread(_drawn(layers.RandomContrast((0.5, 0.9), seed=1))["contrast_factor"], 0.5, 1.9)
    turned = _drawn(layers.RandomHue((0.2, 0.6), seed=1))["factor"]
    _spread(turned.abs(), 0.1, 0.3)
    assert 0.45 < float((turned > 0).float().mean()) < 0.55
    ratio = _drawn(layers.RandomSaturation((0.2, 0.6), seed=1))["factor"]
    _spread(ratio / (1 + ratio), 0.2, 0.6)
    _spread(_drawn(layers.RandomSharpness(0.8, seed=1))["factor"], 0.0, 0.8)
    _spread(_drawn(layers.RandomColorDegeneration(0.5, seed=1))["factor"], -0.5, 0.5)
    _spread(_drawn(layers.Solarization((0.2, 0.4), 0.5, seed=1))["additions"], 51.0, 102.0)
    _spread(_drawn(layers.Solarization((0.2, 0.4), 0.5, seed=1))["thresholds"], 0.0, 127.5)


def test_draws_of_bits() -> None:
    counts = torch.bincount(_drawn(layers.RandomPosterization((2, 6), seed=1))["shift_factor"].long(), minlength=9)
    assert counts[[0, 1, 2, 7, 8]].sum() == 0
    assert bool(((counts[3:7] / DRAWS - 0.25).abs() < 0.03).all())
    assert bool((_drawn(layers.RandomPosterization((3, 3)))["shift_factor"] == 5).all())


@pytest.mark.parametrize(("factor", "chance"), [((0.3, 0.3), 0.3), (1.0, 0.5), ((0.6, 1.0), 0.8)])
def test_draws_of_choices(factor: Any, chance: float) -> None:
    chosen = {"RandomInvert": "apply_inversion", "RandomGaussianBlur": "should_apply_blur"}
    for name, key in (chosen | {"RandomErasing": "apply_erasing"}).items():
        share = _drawn(getattr(layers, name)(factor, seed=2))[key].float().mean()
        assert abs(float(share) - chance) < 0.035
    if factor == (0.3, 0.3):
        assert abs(float(_drawn(layers.RandomGrayscale(0.3, seed=2)).float().mean()) - 0.3) < 0.035


def test_draws_of_rectangles() -> None:
    layer = layers.RandomErasing(scale=(0.25, 0.25), fill_value=0, seed=1)
    masks = layer.get_random_transformation(torch.zeros(500, 40, 20, 1))["batch_masks"][..., 0]
    tall, wide = masks.any(2).sum(1), masks.any(1).sum(1)
    assert bool((tall == 20).all()) and bool((wide == 10).all())
    _spread(masks.any(2).float().argmax(1), 0, 20)
    paint = layers.RandomErasing(fill_value=None).get_random_transformation(torch.zeros(9, 8, 8, 3))["fill_value"]
    assert float(paint.min()) == 0.0 and float(paint.max()) == 255.0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_draws_of_weights(alpha: float) -> None:
    drawn = _drawn(layers.MixUp(alpha, seed=1))
    weights = drawn["mix_weight"].double()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(float(weights.mean()) - 0.5) < 4 * (variance / DRAWS) ** 0.5
    assert abs(float(weights.var()) / variance - 1) < 0.1
    assert torch.equal(drawn["permutation_order"].sort().values, torch.arange(DRAWS))


def test_the_weight_of_a_cut_image_is_its_share() -> None:
    drawn = layers.CutMix((1.0, 1.0), seed=1).get_random_transformation(torch.zeros(500, 60, 50, 3))
    share = 1 - drawn["batch_masks"].float().mean((1, 2, 3))
    torch.testing.assert_close(drawn["mix_weight"].flatten(), share, rtol=0, atol=0.05)
    _spread(drawn["mix_weight"], 0.0, 1.0)
    assert layers.CutMix().get_random_transformation(torch.zeros(6, 5, 3)) is None


def test_partners_are_told_by_the_order() -> None:
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 4, 4, 1)
    layer = layers.CutMix((1.0, 1.0), seed=4)
    drawn = layer.get_random_transformation(images)
    result = layer.transform_images(images, drawn)
    for i, partner in enumerate(drawn["permutation_order"].tolist()):
        assert set(result[i].flatten().tolist()) <= {float(i), float(partner)}


def test_rand_augment_takes_layers_in_their_order() -> None:
    layer, images = layers.RandAugment(seed=1, bounding_box_format="xyxy"), pictures()
    names = list(layer._AUGMENT_LAYERS)
    drawn = layer.get_random_transformation(images)
    assert drawn["layer_idxes"].shape == (2,) and list(drawn["transforms"]) == names
    drawn["layer_idxes"] = torch.tensor([names.index("random_rotation"), names.index("random_shear")])
    expected = images
    boxes = {"boxes": torch.tensor([[[1.0, 1, 5, 6]]]).expand(4, 1, 4), "labels": torch.ones(4, 1)}
    moved = boxes
    for name in ("random_rotation", "random_shear"):
        part = getattr(layer, name)
        expected = part.transform_images(expected, drawn["transforms"][name])
        moved = part.transform_bounding_boxes(moved, drawn["transforms"][name])
    torch.testing.assert_close(layer.transform_images(images, drawn), expected)
    torch.testing.assert_close(layer.transform_bounding_boxes(boxes, drawn)["boxes"], moved["boxes"])
    assert torch.equal(layers.RandAugment(num_ops=0)(images), images)


def test_rand_augment_chooses_evenly() -> None:
    layer = layers.RandAugment(num_ops=3000, seed=1)
    counts = torch.bincount(layer.get_random_transformation(torch.zeros(1, 4, 4, 3))["layer_idxes"], minlength=11)
    assert len(counts) == 11 and bool(((counts / 3000 - 1 / 11).abs() < 0.025).all())


def test_chains_of_aug_mix() -> None:
    layer, images = layers.AugMix(num_chains=200, chain_depth=3, seed=1), pictures(1)
    drawn = layer.get_random_transformation(images)
    assert float(drawn["chain_mixing_weights"].sum()) == pytest.approx(1.0)
    steps = [step["layer_name"] for chain in drawn["chain_transforms"] for step in chain]
    assert len(set(steps)) == 11
    assert abs(len(steps) / 600 - 11 / 12) < 0.05
    few = layers.AugMix(num_chains=50, all_ops=False).get_random_transformation(images)["chain_transforms"]
    assert len({step["layer_name"] for chain in few for step in chain}) == 7


def test_pipeline() -> None:
    pipeline = layers.Pipeline([layers.AutoContrast(), layers.RandomBrightness((0.5, 0.5)), layers.Dropout(0.5)])
    images = pictures()
    assert not torch.equal(pipeline(images), pipeline(images, training=False))
    torch.testing.assert_close(pipeline(images, training=False), layers.AutoContrast()(images))
    config = pipeline.get_config()
    assert set(config) == {"name", "layers"}
    twin = layers.Pipeline.from_config(json.loads(json.dumps(config)))
    assert [type(layer) for layer in twin.layers] == [type(layer) for layer in pipeline.layers]
    torch.testing.assert_close(twin(images, training=False), pipeline(images, training=False))
    result = layers.Pipeline([layers.RandomBrightness(0.1)])({"images": images, "labels": torch.ones(4)})
    assert set(result) == {"images", "labels"}
    for config in ({"name": "x"}, {"name": "x", "layers": None}):
        with pytest.raises(ArgumentError, match="layers"):
            layers.Pipeline.from_config(config)


class _Watching(layers.Layer):
    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        self.seen = training, mask
        return inputs


def test_pipeline_hands_on_mode_and_mask() -> None:
    first, second = _Watching(), _Watching()
    x, mask = torch.ones(2, 3), torch.ones(2, dtype=torch.bool)
    first.supports_masking = True
    layers.Pipeline([first, second])(x, training=True, mask=mask)
    assert first.seen == (True, mask) and second.seen[0] is True


def test_contrast_limited_equalization_against_loops() -> None:
    """The definition, pixel by pixel, of one channel whose sizes are no multiples of the tiles'."""
    image, (rows, columns), limit = pictures(1)[0, :11, :9, :1].numpy()[..., 0], (3, 2), 4.0
    tall, wide = -(-11 // rows), -(-9 // columns)
    padded = np.pad(image, ((0, rows * tall - 11), (0, columns * wide - 9)), "symmetric")
    tables = np.zeros((rows, columns, 256))
    for i, j in np.ndindex(rows, columns):
        tile = padded[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide].astype(int)
        counts = np.bincount(tile.ravel(), minlength=256).astype(float)
        most = limit * tall * wide / 256
        counts = np.minimum(counts, most) + np.maximum(counts - most, 0).sum() / 256
        totals = counts.cumsum()
        tables[i, j] = np.clip((totals - totals[0]) * 255 / (tall * wide - totals[0]), 0, 255)
    expected = np.zeros_like(image)
    for y, x in np.ndindex(11, 9):
        v, h = (y - tall / 2) / tall, (x - wide / 2) / wide
        for i, down in ((int(np.floor(v)), 1 - v % 1), (int(np.floor(v)) + 1, v % 1)):
            for j, across in ((int(np.floor(h)), 1 - h % 1), (int(np.floor(h)) + 1, h % 1)):
                table = tables[np.clip(i, 0, rows - 1), np.clip(j, 0, columns - 1)]
                expected[y, x] += down * across * table[int(image[y, x])]
    layer = layers.ContrastLimitedAdaptiveHistogramEqualization(clip_limit=limit, tile_grid_size=(rows, columns))
    np.testing.assert_allclose(layer(image[..., None])[..., 0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RandomBrightness", {"factor": 1.1}),
        ("RandomBrightness", {"factor": "much"}),
        ("RandomBrightness", {"factor": [0.1]}),
        ("RandomBrightness", {"factor": 0.1, "value_range": "bytes"}),
        ("RandomBrightness", {"factor": 0.1, "value_range": [10]}),
        ("RandomContrast", {"factor": -0.1}),
        ("RandomPosterization", {"factor": 9}),
        ("RandomGrayscale", {"factor": 1.1}),
        ("Solarization", {"threshold_factor": (0.5, 1.5)}),
        ("RandomGaussianBlur", {"kernel_size": 4}),
        ("RandomGaussianBlur", {"kernel_size": (3, 3, 3)}),
        ("RandomGaussianBlur", {"sigma": 2.0}),
        ("RandomErasing", {"fill_value": (1, 2)}),
        ("RandomErasing", {"fill_value": "red"}),
        ("CutMix", {"factor": 2.0}),
        ("RandAugment", {"factor": 2.0}),
        ("AutoContrast", {"factor": 1.0}),
    ],
)
def test_errors(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        getattr(layers, name)(**arguments)


@pytest.mark.parametrize("name", ["RandomHue", "RandomSaturation", "RandomColorDegeneration"])
def test_colours_need_three_channels(name: str) -> None:
    with pytest.raises(ShapeError):
        make(name)(torch.ones(4, 4, 4, 2))
