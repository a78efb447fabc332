"""Layers that apply other layers to images: some of them at random, or all of them in turn.

Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lamina.core import tree
from lamina.core.errors import ArgumentError
from lamina.core.registry import builtin
from lamina.core.scopes import unknown_stand_in
from lamina.core.tensors import convert_to_tensor
from lamina.layers.base import Layer
from lamina.layers.masks import masks_on
from lamina.layers.preprocessing.image_base import BaseImagePreprocessingLayer, Range
from lamina.layers.preprocessing.image_colour import (
    BYTES,
    PixelLayer,
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
    Solarization,
)
from lamina.layers.preprocessing.image_histogram import AutoContrast, Equalization
from lamina.layers.preprocessing.image_warping import RandomRotation, RandomShear, RandomTranslation
from lamina.layers.signature import call_signature
from lamina.ops.control import is_recorded, switch
from lamina.ops.random import beta, gamma, randint


@builtin("keras.layers")
class RandomColorJitter(PixelLayer):
    """Images with brightness, contrast, saturation and hue changed while training, one after the other.

    Args:
        value_range: the least and the greatest value that pixels can have.
        brightness_factor: as for `RandomBrightness`; None leaves the brightness.
        contrast_factor: as for `RandomContrast`; None leaves the contrast.
        saturation_factor: as for `RandomSaturation`; None leaves the saturation.
        hue_factor: as for `RandomHue`; None leaves the hue.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandomColorJitter(brightness_factor=(0.1, 0.1))(torch.zeros(1, 1, 3)).flatten()
        tensor([25.5000, 25.5000, 25.5000])

    Source: https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_color_jitter/
    """

    _PARTS: ClassVar[dict[str, type[PixelLayer]]] = {
        "brightness": RandomBrightness,
        "contrast": RandomContrast,
        "saturation": RandomSaturation,
        "hue": RandomHue,
    }

    def __init__(
        self,
        value_range: Any = BYTES,
        brightness_factor: Range | None = None,
        contrast_factor: Range | None = None,
        saturation_factor: Range | None = None,
        hue_factor: Range | None = None,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed=seed, data_format=data_format, **kwargs)
        self.brightness_factor, self.contrast_factor = brightness_factor, contrast_factor
        self.saturation_factor, self.hue_factor = saturation_factor, hue_factor
        common: dict[str, Any] = {
            "value_range": value_range,
            "seed": seed,
            "data_format": data_format,
            "dtype": self.dtype_policy,
        }
        for part, layer in self._PARTS.items():
            factor = getattr(self, f"{part}_factor")
            setattr(self, f"random_{part}", None if factor is None else layer(factor=factor, **common))

    def _layers(self) -> dict[str, PixelLayer]:
        layers = {f"random_{part}": getattr(self, f"random_{part}") for part in self._PARTS}
        return {name: layer for name, layer in layers.items() if layer is not None}

    def _drawn(self, data: Any, seed: Any) -> dict[str, Any]:
        source = self._source() if seed is None else seed
        return {name: layer.get_random_transformation(data, seed=source) for name, layer in self._layers().items()}

    def _changed(self, images: Tensor, transformation: Any) -> Tensor:
        drawn = self._drawn(images, None) if transformation is None else transformation
        for name, layer in self._layers().items():
            images = layer.transform_images(images, drawn[name])
        return images


class _Policy(BaseImagePreprocessingLayer):
    """Base of the layers that choose from a set of layers, kept as attributes, at random.

    A step is one of these with what was drawn for it: {"layer_name", "transformation"}. In a step of training that is
    being traced no value can be read, so there it is all of them: {"layer_idx", "transforms"}.
    """

    _FACTOR_BOUNDS = (0, 1)

    def __init__(self, value_range: Any, factor: Range, interpolation: str, seed: int | None, **kwargs: Any) -> None:
        super().__init__(factor, seed=seed, **kwargs)
        self.value_range, self.interpolation = list(value_range), interpolation
        common: dict[str, Any] = {
            "bounding_box_format": self.bounding_box_format,
            "data_format": self.data_format,
            "dtype": self.dtype_policy,
            "seed": seed,
        }
        warp: dict[str, Any] = {**common, "interpolation": interpolation}
        colour: dict[str, Any] = {**common, "value_range": value_range}
        own = self.factor
        self.random_shear = RandomShear(own, own, **warp)
        self.random_translation = RandomTranslation(own, own, **warp)
        self.random_rotation = RandomRotation(own, **warp)
        self.random_brightness = RandomBrightness(own, **colour)
        self.random_color_degeneration = RandomColorDegeneration(own, **colour)
        self.random_contrast = RandomContrast(own, **colour)
        self.random_sharpness = RandomSharpness(own, **colour)
        self.random_posterization = RandomPosterization(max(1, int(8 * own[1])), **colour)
        self.solarization = Solarization(own, own, **colour)
        self.auto_contrast = AutoContrast(**colour)
        self.equalization = Equalization(**colour)

    def _drawn_for(self, names: Sequence[str], data: Any, seed: Any) -> dict[str, Any]:
        return {name: getattr(self, name).get_random_transformation(data, seed=seed) for name in names}

    def _taken(self, method: str, part: Any, step: Mapping[str, Any]) -> Any:
        """What a step makes of images, boxes or masks."""
        if "layer_name" in step:
            return getattr(getattr(self, step["layer_name"]), method)(part, step["transformation"])
        index = convert_to_tensor(step["layer_idx"])
        ways = [
            partial(getattr(getattr(self, name), method), part, drawn) for name, drawn in step["transforms"].items()
        ]
        if not is_recorded():
            return switch(index, [*ways, lambda: part])
        for i, way in enumerate(ways):
            part = tree.map_structure(partial(torch.where, index == i), way(), part)
        return part


@builtin("keras.layers")
class RandAugment(_Policy):
    """Images changed by a few layers, one after the other, which are chosen at random for each batch, while training.

    Args:
        value_range: the least and the greatest value that pixels can have.
        num_ops: how many layers.
        factor: how strong they are: a range within 0 to 1, or one number for a range from 0.
        interpolation: "nearest" or "bilinear", where images are moved.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> RandAugment()(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 8, 8, 3])

    Source: Cubuk et al., 2019. RandAugment: practical automated data augmentation with a reduced search space.
    """

    _AUGMENT_LAYERS = (
        "random_shear",
        "random_translation",
        "random_rotation",
        "random_brightness",
        "random_color_degeneration",
        "random_contrast",
        "random_sharpness",
        "random_posterization",
        "solarization",
        "auto_contrast",
        "equalization",
    )

    def __init__(
        self,
        value_range: Any = BYTES,
        num_ops: int = 2,
        factor: Range = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor, interpolation, seed, data_format=data_format, **kwargs)
        self.num_ops = num_ops

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which layers are taken, and what is drawn for each there is; None when not training."""
        if not training:
            return None
        seed = self._source() if seed is None else seed
        chosen = randint((self.num_ops,), 0, len(self._AUGMENT_LAYERS), seed=seed)
        return {"transforms": self._drawn_for(self._AUGMENT_LAYERS, data, seed), "layer_idxes": chosen}

    def _through(self, method: str, part: Any, transformation: Any) -> Any:
        for index in convert_to_tensor(transformation["layer_idxes"]).unbind():
            part = self._taken(method, part, {"layer_idx": index, "transforms": transformation["transforms"]})
        return part

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Tensor:
        """A batch of images after all layers that were chosen."""
        images = self.cast(convert_to_tensor(images))
        return self._through("transform_images", images, transformation) if training else images

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any, training: bool = True) -> Any:
        """Their boxes, moved as they are."""
        return self._through("transform_bounding_boxes", bounding_boxes, transformation) if training else bounding_boxes

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        """Their masks, moved as they are."""
        if not training:
            return segmentation_masks
        return self._through("transform_segmentation_masks", convert_to_tensor(segmentation_masks), transformation)


@builtin("keras.layers")
class AugMix(_Policy):
    """Images mixed with themselves as some chains of layers, chosen at random for each batch, change them in training.

    Boxes stay where they are.

    Args:
        value_range: the least and the greatest value that pixels can have.
        num_chains: how many chains.
        chain_depth: how many layers a chain has at most.
        factor: how strong they are: a range within 0 to 1, or one number for a range from 0.
        alpha: the parameter of the distributions that the shares of chains and originals are drawn from.
        all_ops: whether brightness, contrast, colours and sharpness change too.
        interpolation: "nearest" or "bilinear", where images are moved.
        seed: an integer makes the draws repeatable.
        data_format: "channels_last" or "channels_first".
        **kwargs: as for `BaseImagePreprocessingLayer`.

    Raises:
        ArgumentError: an argument lies outside its range.

    Example:
        >>> AugMix()(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 8, 8, 3])

    Source: Hendrycks et al., 2019. AugMix: a simple data processing method to improve robustness and uncertainty.
    """

    _AUGMENT_LAYERS = (
        "random_shear",
        "random_translation",
        "random_rotation",
        "random_posterization",
        "solarization",
        "auto_contrast",
        "equalization",
    )
    _FURTHER_LAYERS = ("random_brightness", "random_color_degeneration", "random_contrast", "random_sharpness")

    def __init__(
        self,
        value_range: Any = BYTES,
        num_chains: int = 3,
        chain_depth: int = 3,
        factor: Range = 0.3,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, factor, interpolation, seed, data_format=data_format, **kwargs)
        self.num_chains, self.chain_depth, self.alpha, self.all_ops = num_chains, chain_depth, alpha, all_ops

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The chains with their shares, and the share of the original; None when not training."""
        if not training:
            return None
        seed = self._source() if seed is None else seed
        shares = gamma((self.num_chains,), self.alpha, seed=seed)
        own = beta((), self.alpha, self.alpha, seed=seed)
        chains = [self._chain(data, seed) for _ in range(self.num_chains)]
        return {"chain_mixing_weights": shares / shares.sum(), "weight_sample": own, "chain_transforms": chains}

    def _chain(self, data: Any, seed: Any) -> list[dict[str, Any]]:
        names = self._AUGMENT_LAYERS + (self._FURTHER_LAYERS if self.all_ops else ())
        chosen = randint((self.chain_depth,), 0, len(names) + 1, seed=seed)
        if is_recorded() or unknown_stand_in() is not None:
            return [{"layer_idx": index, "transforms": self._drawn_for(names, data, seed)} for index in chosen.unbind()]
        steps = [names[index] for index in chosen.tolist() if index < len(names)]
        return [{"layer_name": name, "transformation": self._drawn_for([name], data, seed)[name]} for name in steps]

    def _blend(self, method: str, part: Tensor, transformation: Any) -> Tensor:
        weights = (transformation[key] for key in ("chain_mixing_weights", "weight_sample"))
        shares, own = (convert_to_tensor(weight, part.dtype, part.device) for weight in weights)
        blend = torch.zeros_like(part)
        for share, chain in zip(shares.unbind(), transformation["chain_transforms"], strict=True):
            changed = part
            for step in chain:
                changed = self._taken(method, changed, step)
            blend = blend + changed * share
        return own * part + (1 - own) * blend

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Tensor:
        """A batch of images mixed with what the chains make of them."""
        images = self.cast(convert_to_tensor(images))
        if not training:
            return images
        return self._blend("transform_images", images, transformation).clip(
            min(self.value_range), max(self.value_range)
        )

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        """Their masks mixed likewise, as floats."""
        if not training:
            return segmentation_masks
        masks = self.cast(convert_to_tensor(segmentation_masks))
        return self._blend("transform_segmentation_masks", masks, transformation)


@builtin("keras.layers")
class Pipeline(Layer):
    """Layers applied one after the other, as in a Sequential model, but to data of any kind, and without being a model.

    Like the layers for images it begins in training mode.

    Args:
        layers: the layers.
        name: the pipeline's name.

    Raises:
        ArgumentError: in `from_config`, if there is no list of layers.

    Example:
        >>> Pipeline([AutoContrast(), RandomBrightness(0.1)])(torch.ones(2, 8, 8, 3)).shape
        torch.Size([2, 8, 8, 3])

    Source: https://keras.io/api/layers/preprocessing_layers/pipeline/
    """

    begins_in_training: ClassVar[bool] = True

    def __init__(self, layers: Sequence[Layer], name: str | None = None) -> None:
        super().__init__(name=name)
        self.training = True
        self._layers = list(layers)

    @property
    def layers(self) -> list[Layer]:
        """The layers in their order."""
        return self._layers

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        """What the last layer makes of what the others have made of the inputs."""
        for layer in self._layers:
            signature = call_signature(type(layer))
            options = {"mask": mask} if signature.mask else {}
            inputs = layer(inputs, **options, **({"training": training} if signature.training else {}))
            mask = masks_on(inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The layers and the name."""
        config = super().get_config()
        return {key: config[key] for key in ("name", "layers")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A pipeline made from a config."""
        if not isinstance(config.get("layers"), (list, tuple)):
            raise ArgumentError(
                "The config has no list of layers.",
                where="Pipeline.from_config, 'layers'",
                expected="a list of configs of layers",
                received=repr(config.get("layers")),
            )
        return super().from_config(config)
