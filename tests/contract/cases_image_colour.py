"""Cases of the layers that change, mix and choose the colours of images."""

from __future__ import annotations

from typing import Any

from tests.contract.harness import LayerCase

IMAGES = (2, 6, 5, 3)


def _case(layer: str, arguments: dict[str, Any], label: str = "", **options: Any) -> LayerCase:
    """Compared without training, where most hand their inputs on; what they draw is another test's matter."""
    first = arguments.get("data_format") == "channels_first"
    shape, unknown = ((2, 3, 6, 5), (2, 3)) if first else (IMAGES, (1, 2))
    return LayerCase(layer, arguments, shape, label, **{"unknown": unknown, "frames": None} | options)


CASES = [
    _case("RandomBrightness", {"factor": 0.3}),
    _case("RandomBrightness", {"factor": (-0.1, 0.2), "value_range": (0, 1), "seed": 3}, "range"),
    _case("RandomContrast", {"factor": 0.3}),
    _case("RandomContrast", {"factor": (0.2, 0.4), "data_format": "channels_first", "seed": 3}, "channels first"),
    _case("RandomHue", {"factor": 0.3, "value_range": (0, 1)}),
    _case("RandomHue", {"factor": (0.2, 0.4), "data_format": "channels_first"}, "channels first"),
    _case("RandomSaturation", {"factor": 0.3}),
    _case("RandomSharpness", {"factor": 0.3}),
    _case("RandomSharpness", {"factor": 0.3, "data_format": "channels_first"}, "channels first"),
    _case("RandomColorDegeneration", {"factor": 0.3}),
    _case("RandomPosterization", {"factor": 4}),
    # Keras forgets the seed of this layer.
    _case("RandomGrayscale", {"factor": 0.3}, config_extra=frozenset({"seed"})),
    _case("RandomInvert", {}),
    _case("Solarization", {"addition_factor": 0.2, "threshold_factor": (0.1, 0.5), "seed": 3}),
    _case("RandomGaussianBlur", {}),
    _case("RandomGaussianBlur", {"kernel_size": (3, 5), "sigma": (0.2, 0.9), "factor": 0.4}, "sizes"),
    _case("RandomColorJitter", {"brightness_factor": 0.1, "hue_factor": (0.1, 0.2)}),
    _case("AutoContrast", {"value_range": (0, 1)}),
    _case("Equalization", {"bins": 64}),
    _case("ContrastLimitedAdaptiveHistogramEqualization", {"tile_grid_size": (2, 2)}, input_gradient=False),
    _case("RandomErasing", {}),
    _case("RandomErasing", {"fill_value": (1, 2, 3), "scale": 0.5, "factor": 0.4}, "fill"),
    _case("MixUp", {"alpha": 0.3}),
    _case("CutMix", {"factor": 0.3, "seed": 3}),
    _case("RandAugment", {"num_ops": 1, "factor": (0.1, 0.4)}),
    _case(
        "AugMix",
        {"num_chains": 1, "chain_depth": 1, "all_ops": False},
        noise="a graph draws for all layers, an eager step for those it takes",
    ),
]
