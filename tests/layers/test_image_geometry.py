"""Layers that resize, crop and move images: what they draw, what they take, and where they differ from Keras."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.data import DataLoader, Dataset

import lamina
from lamina import layers
from lamina.core.errors import ArgumentError, ShapeError, UnsupportedError
from lamina.layers.preprocessing.boxes import densify_bounding_boxes
from lamina.layers.preprocessing.image_base import transform_value_range

RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("RandomCrop", {"height": 6, "width": 5}),
    ("RandomFlip", {}),
    ("RandomRotation", {"factor": 0.2}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": 0.3}),
    ("RandomZoom", {"height_factor": 0.3}),
    ("RandomShear", {"x_factor": 0.3, "y_factor": 0.2}),
    ("RandomPerspective", {"scale": 0.3}),
    ("RandomElasticTransform", {"scale": 0.5}),
]
each_random = pytest.mark.parametrize(("name", "arguments"), RANDOM)


def pictures(batch: int = 4, height: int = 8, width: int = 10) -> torch.Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(1)) * 255


def marked(box: list[int], height: int = 20, width: int = 30) -> dict[str, Any]:
    """A black image with one white box, and that box, "xyxy"."""
    left, top, right, bottom = box
    images = torch.zeros(1, height, width, 1)
    images[:, top:bottom, left:right] = 1
    boxes = {"boxes": torch.tensor([[box]], dtype=torch.float32), "labels": torch.tensor([[7]])}
    return {"images": images, "bounding_boxes": boxes}


def box_of(images: torch.Tensor) -> list[int]:
    """The box around what is white in a single image."""
    rows, columns = images[0, ..., 0].amax(1).nonzero(), images[0, ..., 0].amax(0).nonzero()
    return [int(x) for x in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


# What is drawn.


def test_flips_come_for_each_image_with_a_chance_of_one_half() -> None:
    flips = layers.RandomFlip(seed=1).get_random_transformation(torch.zeros(4000, 2, 2, 1))["flips"]
    assert flips.shape == (4000, 1, 1, 1)
    assert abs(float(flips.float().mean()) - 0.5) < 0.04


@pytest.mark.parametrize(
    ("layer", "key", "low", "high"),
    [
        (layers.RandomRotation((-0.1, 0.3), seed=1), "angle", -36, 108),
        (layers.RandomRotation(0.25, seed=2), "angle", -90, 90),
        (layers.RandomTranslation(0.0, (-0.1, 0.4), seed=3), "translations", -1, 4),
        (layers.RandomZoom((-0.5, 0.2), seed=4), "height_zoom", 0.5, 1.2),
        (layers.RandomZoom(0.0, 0.3, seed=5), "width_zoom", 0.7, 1.3),
    ],
)
def test_numbers_are_spread_evenly(layer: Any, key: str, low: float, high: float) -> None:
    drawn = layer.get_random_transformation(torch.zeros(4000, 8, 10, 1))[key].reshape(4000, -1)[:, 0]
    shares = ((drawn - low) / (high - low)).sort().values
    assert float((shares - torch.linspace(0, 1, 4000)).abs().max()) < 0.04


def test_shear_goes_both_ways() -> None:
    drawn = layers.RandomShear((0.1, 0.3), (0.0, 0.2), seed=1).get_random_transformation(torch.zeros(4000, 2, 2, 1))
    by_x, by_y = drawn["shear_factor"].unbind(1)
    assert 0.1 <= float(by_x.abs().min()) <= float(by_x.abs().max()) <= 0.3
    assert abs(float((by_x > 0).float().mean()) - 0.5) < 0.04
    assert bool((by_x * by_y >= 0).all())


def test_the_chance_of_a_tilt() -> None:
    for factor, chance in ((1.0, 0.5), ((1.0, 1.0), 1.0), ((0.2, 0.4), 0.3), (0.0, 0.0)):
        layer = layers.RandomPerspective(factor, seed=1)
        chosen = layer.get_random_transformation(torch.zeros(4000, 4, 4, 1))["apply_perspective"]
        assert abs(float(chosen.float().mean()) - chance) < 0.04


def test_crops_reach_every_place() -> None:
    layer = layers.RandomCrop(2, 3, seed=1)
    places = {tuple(int(x) for x in layer.get_random_transformation(torch.zeros(1, 4, 5, 1))[:2]) for _ in range(200)}
    assert places == {(top, left) for top in range(3) for left in range(3)}


@each_random
def test_seeds(name: str, arguments: dict[str, Any]) -> None:
    images, kind = pictures(), getattr(layers, name)
    layer, twin, other = kind(**arguments, seed=3), kind(**arguments, seed=3), kind(**arguments, seed=4)
    first = [layer(images) for _ in range(8)]
    assert all(torch.equal(x, twin(images)) for x in first)
    assert any(not torch.equal(x, first[0]) for x in first)
    assert any(not torch.equal(x, other(images)) for x in first)
    assert torch.equal(kind.from_config(layer.get_config())(images), first[0])


# What they take.


@each_random
def test_training(name: str, arguments: dict[str, Any]) -> None:
    """Called by itself a layer augments, as in Keras; in evaluation mode, or when told, it does not."""
    layer, images = getattr(layers, name)(**arguments, seed=1), pictures(64)
    assert not torch.equal(layer(images)[:, :6, :5], images[:, :6, :5])
    assert torch.equal(layer(images, training=False), images)
    layer.eval()
    assert torch.equal(layer(images), images)
    assert not torch.equal(layer(images, training=True)[:, :6, :5], images[:, :6, :5])


@pytest.mark.parametrize(("name", "arguments"), [*RANDOM, ("Resizing", {"height": 4, "width": 4})])
def test_kinds_of_images(name: str, arguments: dict[str, Any]) -> None:
    layer, images = getattr(layers, name)(**arguments), pictures()
    shape = layer(images).shape
    for given in (images.numpy(), images.double(), images.to(torch.uint8), images.to(torch.uint8).numpy()):
        outputs = layer(given)
        assert outputs.shape == shape
        keeps = name == "Resizing" and "uint8" in str(given.dtype)
        assert outputs.dtype is (torch.uint8 if keeps else torch.float32)
        assert layer(given[0]).shape == shape[1:]
    assert layer(images[0].tolist()).shape == shape[1:]
    with pytest.raises(ShapeError, match="rank"):
        layer(torch.zeros(4, 4))


@each_random
def test_what_comes_with_the_images(name: str, arguments: dict[str, Any]) -> None:
    images = pictures()
    data = {"images": images, "labels": torch.arange(4), "segmentation_masks": images[..., :1], "ids": torch.ones(4)}
    kept = {key: value.clone() for key, value in data.items()}
    by_nearest = {} if name in ("RandomCrop", "RandomFlip") else {"interpolation": "nearest"}
    outputs = getattr(layers, name)(**arguments, **by_nearest)(data)
    assert outputs.keys() == data.keys()
    assert all(torch.equal(data[key], kept[key]) for key in data)
    assert torch.equal(outputs["labels"], data["labels"]) and torch.equal(outputs["ids"], data["ids"])
    torch.testing.assert_close(outputs["images"][..., :1], outputs["segmentation_masks"])
    single = getattr(layers, name)(**arguments)({key: value[0] for key, value in data.items() if key != "ids"})
    assert single["images"].shape == (*single["segmentation_masks"].shape[:2], 3)


@pytest.mark.parametrize(
    ("layer", "tolerance"),
    [
        (layers.RandomCrop(12, 16, seed=1, bounding_box_format="xyxy"), 0),
        (layers.RandomCrop(40, 12, seed=1, bounding_box_format="xyxy"), 1),
        (layers.CenterCrop(14, 22, bounding_box_format="xyxy"), 0),
        (layers.CenterCrop(40, 30, bounding_box_format="xyxy"), 1),
        (layers.Resizing(40, 60, bounding_box_format="xyxy"), 1),
        (layers.Resizing(40, 40, pad_to_aspect_ratio=True, bounding_box_format="xyxy"), 1),
        (layers.Resizing(30, 30, crop_to_aspect_ratio=True, bounding_box_format="xyxy"), 1),
        (layers.RandomFlip(seed=1, bounding_box_format="xyxy"), 0),
        (layers.RandomTranslation(0.1, 0.2, "constant", "nearest", 1, bounding_box_format="xyxy"), 1),
        (layers.RandomZoom(0.2, None, "constant", "nearest", 1, bounding_box_format="xyxy"), 1),
    ],
)
def test_boxes_go_with_the_images(layer: Any, tolerance: int) -> None:
    for box in ([8, 6, 17, 13], [12, 9, 18, 12]):
        for _ in range(5):
            outputs = layer(marked(box))
            seen = outputs["images"]
            if not bool((seen > 0.5).any()):
                continue
            found = torch.tensor(box_of((seen > 0.5).float()), dtype=torch.float32)
            told = outputs["bounding_boxes"]["boxes"][0, 0]
            assert float((found - told).abs().max()) <= tolerance + 1e-3
            assert int(outputs["bounding_boxes"]["labels"]) == 7


def test_boxes_out_of_sight_lose_their_label() -> None:
    layer = layers.CenterCrop(4, 4, bounding_box_format="xyxy")
    assert int(layer(marked([0, 0, 5, 5]))["bounding_boxes"]["labels"]) == -1


def test_boxes_in_relative_formats_go_with_crops() -> None:
    data = marked([8, 6, 17, 13])
    for box_format in ("rel_xywh", "center_yxhw"):
        layer = layers.RandomCrop(12, 16, seed=1, bounding_box_format=box_format)
        convert = lamina.utils.bounding_boxes.convert_format
        given = {**data, "bounding_boxes": convert(data["bounding_boxes"], "xyxy", box_format, 20, 30)}
        outputs = layer(given)
        told = convert(outputs["bounding_boxes"]["boxes"], box_format, "xyxy", 12, 16)
        assert told.round().tolist() == [[box_of(outputs["images"])]]


def test_boxes_as_lists_are_padded() -> None:
    boxes = {"boxes": [[[0, 0, 2, 2], [1, 1, 3, 3]], [[0, 0, 1, 1]]], "labels": [[5, 6], [7]]}
    layer = layers.RandomFlip("vertical", bounding_box_format="xyxy")
    outputs = layer({"images": torch.zeros(2, 4, 4, 1), "bounding_boxes": boxes}, training=False)["bounding_boxes"]
    assert outputs["boxes"].shape == (2, 2, 4) and outputs["labels"].tolist() == [[5, 6], [7, -1]]
    single = {"boxes": boxes["boxes"][0], "labels": boxes["labels"][0]}
    assert densify_bounding_boxes(single, max_boxes=3)["labels"].tolist() == [5, 6, -1]
    assert densify_bounding_boxes(single, max_boxes=1)["boxes"].tolist() == [[0, 0, 2, 2]]


def test_unusable_boxes() -> None:
    images, boxes = torch.zeros(1, 4, 4, 1), {"boxes": torch.zeros(1, 2, 4), "labels": torch.zeros(1, 2)}
    with pytest.raises(ArgumentError, match="bounding_box_format='xyxy'"):
        layers.RandomFlip()({"images": images, "bounding_boxes": boxes})
    layer = layers.RandomFlip(bounding_box_format="xyxy")
    for wrong, message in (
        (boxes["boxes"], "Unusable bounding boxes"),
        ({"boxes": boxes["boxes"]}, "Unusable bounding boxes"),
        ({"boxes": torch.zeros(4), "labels": torch.zeros(1)}, "do not fit"),
        ({"boxes": [[[0, 0, 1, 1]]], "labels": torch.zeros(1, 1)}, "do not fit"),
    ):
        with pytest.raises((ArgumentError, ShapeError), match=message):
            layer({"images": images, "bounding_boxes": wrong})
    with pytest.raises(UnsupportedError, match="bent"):
        layer = layers.RandomElasticTransform(bounding_box_format="xyxy")
        layer({"images": images, "bounding_boxes": boxes})
    convert = lamina.utils.bounding_boxes.convert_format
    with pytest.raises(ArgumentError, match='Did you mean "xyxy"'):
        convert(boxes["boxes"], "xyxyy", "xywh")
    with pytest.raises(ShapeError, match="four numbers"):
        convert(torch.zeros(3), "xyxy", "xywh")


def test_unusable_arguments() -> None:
    for make in (
        lambda: layers.RandomRotation(2.0),
        lambda: layers.RandomRotation((0.1, 0.2, 0.3)),  # type: ignore[arg-type]
        lambda: layers.RandomTranslation(1.5, 0.0),
        lambda: layers.RandomZoom((-1.0, 0.5)),
        lambda: layers.RandomShear(-0.1),
        lambda: layers.RandomPerspective(scale=1.5),
        lambda: layers.RandomElasticTransform(scale=-1.0),
        lambda: layers.RandomFlip("diagonal"),
        lambda: layers.Resizing(4, 4, factor=0.5),
    ):
        with pytest.raises(ArgumentError):
            make()
    with pytest.raises(UnsupportedError, match="fill_mode"):
        layers.RandomRotation(0.1, fill_mode="mirror")
    with pytest.raises(UnsupportedError, match="interpolation"):
        layers.RandomZoom(0.1, interpolation="bicubic")


def test_value_ranges() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8)
    assert transform_value_range(images, (0, 255), (0, 255)) is images
    assert transform_value_range(images, (0, 255), (-1, 1)).tolist() == [-1.0, 1.0]


# Where they run.


@each_random
def test_a_traced_step_draws_anew(name: str, arguments: dict[str, Any]) -> None:
    """No number is read while tracing, and what was traced follows the seed."""
    layer, images = getattr(layers, name)(**arguments, seed=1), pictures()

    def step(state: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layer.generator.__dict__["state"] = state
        return layer(images), state

    graph = make_fx(step)(torch.tensor([1, 0]), images)
    state = torch.tensor([1, 0])
    traced = []
    for _ in range(8):
        outputs, state = graph(state, images)
        traced.append(outputs)
    assert any(not torch.equal(outputs, traced[0]) for outputs in traced)
    layer.generator.__dict__["state"] = torch.tensor([1, 0])
    for outputs in traced:
        torch.testing.assert_close(outputs, layer(images))


def test_mixed_precision_keeps_coordinates() -> None:
    layer = layers.Resizing(1000, 1000, dtype="mixed_bfloat16", bounding_box_format="xyxy")
    boxes = {"boxes": torch.tensor([[[257.0, 259.0, 513.0, 517.0]]]), "labels": torch.tensor([[1]])}
    outputs = layer({"images": torch.ones(1, 1000, 1000, 1), "bounding_boxes": boxes})
    assert outputs["images"].dtype is torch.bfloat16
    assert torch.equal(outputs["bounding_boxes"]["boxes"], boxes["boxes"])


def test_in_a_model() -> None:
    images, targets = pictures(8).numpy(), np.zeros((8, 2), "float32")
    inputs = lamina.Input((8, 10, 3))
    x = layers.RandomFlip(seed=1)(layers.RandomTranslation(0.2, 0.2, seed=2)(inputs))
    model = lamina.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Resizing(4, 4)(x))))
    model.compile("sgd", "mse")
    model.fit(images / 255, targets, epochs=1, verbose=0)
    assert np.array_equal(model.predict(images, verbose=0), model.predict(images, verbose=0))
    assert model.evaluate(images, targets, verbose=0) == model.evaluate(images, targets, verbose=0)
    twin = type(model).from_config(model.get_config())
    twin.set_weights(model.get_weights())
    assert np.allclose(twin.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)


class _Shifted(Dataset[torch.Tensor]):
    """The same image again and again, shifted by a layer."""

    def __init__(self) -> None:
        self.layer = layers.RandomTranslation(0.4, 0.4, fill_mode="wrap", seed=1)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.layer(pictures(1)[0])


def test_in_workers_of_a_loader() -> None:
    """Each worker, and each epoch, draws otherwise; `torch.manual_seed` makes it repeatable."""
    images = pickle.loads(pickle.dumps(_Shifted()))

    def epochs() -> list[torch.Tensor]:
        torch.manual_seed(5)
        loader = DataLoader(images, batch_size=2, num_workers=2)
        return [torch.cat(list(loader)) for _ in range(2)]

    first, again = epochs(), epochs()
    assert len({tuple(x.flatten().tolist()) for x in torch.cat(first)}) == 16
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_elastic_transform_leaves_what_is_not_chosen() -> None:
    layer, images = layers.RandomElasticTransform((0.5, 0.5), (0.5, 0.5), seed=1), pictures(32, 16, 16)
    outputs = layer(images)
    bent = ~(outputs == images).flatten(1).all(1)
    assert 4 < int(bent.sum()) < 28
    assert float(layers.RandomElasticTransform((1, 1), value_range=(0, 100))(images).max()) <= 100
    assert torch.equal(layers.RandomElasticTransform(factor=0.0)(images), images)


def test_augmentation_in_a_model_acts_until_the_model_is_told_a_mode():
    x = np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")

    class Subclassed(lamina.Model):
        def __init__(self):
            super().__init__()
            self.flips = [layers.RandomFlip(seed=1)]

        def call(self, x):
            return self.flips[0](x)

    inputs = layers.Input((8, 8, 3))
    for model in (
        lamina.Sequential([layers.RandomFlip(seed=1), layers.Dropout(0.5)]),
        lamina.Model(inputs, lamina.Sequential([layers.RandomFlip(seed=1)])(inputs)),
        Subclassed(),
    ):
        changed = model(x).numpy()
        assert not np.array_equal(changed, x) and not np.any(changed == 0)
        np.testing.assert_array_equal(model.predict(x, verbose=0), x)
        np.testing.assert_array_equal(model(x, training=False).numpy(), x)
