"""Cases of convolution, pooling and normalization."""

from __future__ import annotations

from tests.contract.harness import LayerCase

STEPS, IMAGE, VOLUME = (2, 9, 4), (2, 8, 7, 4), (2, 5, 6, 5, 4)
FIRST = {"data_format": "channels_first"}

CONVOLUTION = [
    LayerCase("Conv1D", {"filters": 3, "kernel_size": 3}, STEPS, unknown=(1,), exports=True),
    LayerCase("Conv1D", {"filters": 3, "kernel_size": 2, "padding": "causal"}, STEPS, "causal", unknown=(1,)),
    LayerCase("Conv1D", {"filters": 3, "kernel_size": 3, **FIRST}, (2, 4, 9), "channels first", unknown=(2,)),
    LayerCase("Conv2D", {"filters": 3, "kernel_size": 3}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase(
        "Conv2D",
        {
            "filters": 6,
            "kernel_size": (3, 2),
            "padding": "same",
            "groups": 2,
            "activation": "relu",
            "use_bias": False,
            "kernel_initializer": "he_normal",
            "kernel_regularizer": "l2",
            "kernel_constraint": "max_norm",
        },
        IMAGE,
        "all arguments",
        unknown=(1, 2),
        exports=True,
    ),
    LayerCase(
        "Conv2D",
        {"filters": 3, "kernel_size": 3, "padding": "same", "strides": 2},
        IMAGE,
        "strided",
        unknown=(1, 2),
        frames=10,
        exports=True,
    ),
    LayerCase("Conv2D", {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, IMAGE, "dilated", unknown=(1, 2)),
    LayerCase("Conv2D", {"filters": 3, "kernel_size": 3, **FIRST}, (2, 4, 8, 7), "channels first", unknown=(2, 3)),
    LayerCase("Conv3D", {"filters": 3, "kernel_size": 2}, VOLUME, unknown=(1, 2, 3), exports=True),
    LayerCase(
        "Conv3D",
        {"filters": 3, "kernel_size": 3, "padding": "same", "activity_regularizer": "l2"},
        VOLUME,
        "activity",
        unknown=(1, 2, 3),
        frames=None,
    ),
    LayerCase("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, STEPS, unknown=(1,)),
    LayerCase("DepthwiseConv2D", {"kernel_size": 3}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase("SeparableConv1D", {"filters": 3, "kernel_size": 3}, STEPS, unknown=(1,), frames=5),
    LayerCase(
        "SeparableConv2D",
        {"filters": 3, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"},
        IMAGE,
        unknown=(1, 2),
        frames=5,
        exports=True,
    ),
    LayerCase("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2}, STEPS, unknown=(1,), frames=3),
    LayerCase(
        "Conv2DTranspose",
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
        IMAGE,
        unknown=(1, 2),
        frames=3,
        exports=True,
    ),
    LayerCase("Conv3DTranspose", {"filters": 3, "kernel_size": 2}, VOLUME, unknown=(1, 2, 3), frames=3),
]

POOLING = [
    LayerCase("MaxPooling1D", {"pool_size": 2}, STEPS, unknown=(1,), exports=True),
    LayerCase("MaxPooling2D", {"pool_size": (2, 3)}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase(
        "MaxPooling2D",
        {"pool_size": 3, "strides": 2, "padding": "same"},
        IMAGE,
        "same",
        unknown=(1, 2),
        frames=10,
        exports=True,
    ),
    LayerCase("MaxPooling2D", FIRST, (2, 4, 8, 7), "channels first", unknown=(2, 3)),
    LayerCase("MaxPooling3D", {"pool_size": 2}, VOLUME, unknown=(1, 2, 3)),
    LayerCase("AveragePooling1D", {"pool_size": 2}, STEPS, unknown=(1,)),
    LayerCase("AveragePooling2D", {"pool_size": 2}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase(
        "AveragePooling2D", {"pool_size": 2, "strides": 1, "padding": "same"}, IMAGE, "same", unknown=(1, 2), frames=10
    ),
    LayerCase("AveragePooling3D", {"pool_size": 2}, VOLUME, unknown=(1, 2, 3), exports=True),
    LayerCase("AveragePooling3D", {"pool_size": 2, **FIRST}, (2, 4, 5, 6, 5), "channels first", unknown=(2, 3, 4)),
    *(
        LayerCase(f"Global{kind}Pooling{rank}D", {}, shape, unknown=tuple(range(1, rank + 1)), exports=True)
        for kind in ("Max", "Average")
        for rank, shape in ((1, STEPS), (2, IMAGE), (3, VOLUME))
    ),
    LayerCase("GlobalAveragePooling2D", {"keepdims": True, **FIRST}, (2, 4, 8, 7), "kept axes", unknown=(2, 3)),
    *(
        LayerCase(f"Adaptive{kind}Pooling{rank}D", {"output_size": 3}, shape, frames=6)
        for kind in ("Max", "Average")
        for rank, shape in ((1, STEPS), (2, IMAGE), (3, VOLUME))
    ),
]

NORMALIZATION = [
    LayerCase("BatchNormalization", {}, IMAGE, unknown=(1, 2), keeps_mask=True, exports=True),
    LayerCase("BatchNormalization", {}, IMAGE, "training", training=True, unknown=(1, 2), tolerance=1e-4),
    LayerCase("BatchNormalization", {"axis": 1}, IMAGE, "axis", unknown=(2, 3)),
    LayerCase("BatchNormalization", {"center": False, "scale": False}, STEPS, "plain", unknown=(1,)),
    LayerCase("BatchNormalization", {"renorm": True}, (6, 4), "renorm"),
    LayerCase("LayerNormalization", {}, STEPS, unknown=(1,), keeps_mask=True, exports=True),
    LayerCase("LayerNormalization", {"axis": [1, 3]}, IMAGE, "axes", unknown=(2,), frames=10),
    LayerCase("GroupNormalization", {"groups": 2}, IMAGE, unknown=(1, 2), keeps_mask=True, exports=True),
    LayerCase("GroupNormalization", {"groups": -1, "axis": 1}, IMAGE, "instances", unknown=(2, 3), frames=4),
    LayerCase("RMSNormalization", {}, STEPS, unknown=(1,), exports=True),
    LayerCase("UnitNormalization", {}, STEPS, unknown=(1,), keeps_mask=True, exports=True),
]

CASES = [*CONVOLUTION, *POOLING, *NORMALIZATION]
