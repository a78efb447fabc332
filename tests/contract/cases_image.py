"""Cases of the layers that resize, crop and move images. What they draw is compared with Keras in tests/parity."""

from __future__ import annotations

from tests.contract.harness import LayerCase

IMAGE, WIDE, FIRST, SINGLE = (2, 6, 5, 3), (2, 8, 12, 3), (2, 3, 6, 5), (6, 5, 3)

CASES = [
    LayerCase("Resizing", {"height": 4, "width": 7}, IMAGE, frames=None, exports=True),
    LayerCase("Resizing", {"height": 4, "width": 7, "data_format": "channels_first"}, FIRST, "first", frames=None),
    LayerCase(
        "Resizing",
        {"height": 4, "width": 7, "pad_to_aspect_ratio": True, "fill_value": 1.0, "interpolation": "nearest"},
        WIDE,
        "padded",
        frames=None,
    ),
    LayerCase(
        "Resizing", {"height": 9, "width": 7, "crop_to_aspect_ratio": True, "antialias": True}, WIDE, "cut", frames=None
    ),
    LayerCase("CenterCrop", {"height": 4, "width": 3}, IMAGE, frames=None, exports=True),
    LayerCase("CenterCrop", {"height": 9, "width": 3}, IMAGE, "too small", frames=None),
    LayerCase("RandomCrop", {"height": 4, "width": 3, "seed": 1}, IMAGE, frames=None),
    LayerCase("RandomFlip", {"mode": "horizontal"}, IMAGE, unknown=(1, 2), frames=None),
    LayerCase("RandomFlip", {"seed": 1, "data_format": "channels_first"}, FIRST, "first", frames=None),
    LayerCase("RandomRotation", {"factor": 0.2}, IMAGE, unknown=(1, 2), frames=None),
    LayerCase("RandomTranslation", {"height_factor": 0.2, "width_factor": [-0.1, 0.3]}, IMAGE, frames=None),
    LayerCase("RandomZoom", {"height_factor": [-0.3, 0.1], "fill_mode": "constant"}, IMAGE, frames=None),
    LayerCase("RandomZoom", {"height_factor": 0.3, "width_factor": 0.2}, IMAGE, "both", unknown=(1, 2), frames=None),
    LayerCase("RandomShear", {"x_factor": 0.3, "y_factor": [0.1, 0.2]}, IMAGE, frames=None),
    LayerCase("RandomPerspective", {"factor": [0.5, 1.0], "scale": 0.3}, IMAGE, frames=None),
    LayerCase("RandomElasticTransform", {"scale": [0.2, 0.6], "fill_mode": "mirror"}, IMAGE, frames=None),
    LayerCase("MaxNumBoundingBoxes", {"max_number": 3}, IMAGE, frames=None, config_extra=frozenset({"fill_value"})),
]
