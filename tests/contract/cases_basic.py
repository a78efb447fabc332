"""Cases of the basic layers: core, reshaping, merging, regularization, activation."""

from __future__ import annotations

from tests.contract.harness import LayerCase

SEQUENCE, IMAGE, VOLUME = (2, 6, 3), (2, 6, 5, 3), (2, 5, 6, 4, 3)
PAIR, IMAGES = [(2, 4, 3), (2, 4, 3)], [(2, 4, 4, 3), (2, 4, 4, 3)]

CORE = [
    LayerCase("Dense", {"units": 3}, keeps_mask=False, exports=True),
    LayerCase("Dense", {"units": 3, "activation": "relu", "use_bias": False}, label="no bias"),
    LayerCase("Dense", {"units": 4, "activation": "softmax"}, SEQUENCE, "sequence", unknown=(1,), keeps_mask=True),
    LayerCase("Dense", {"units": 2, "activation": "sigmoid"}, IMAGE, "image", unknown=(1, 2)),
    LayerCase("Dense", {"units": 2, "activation": "silu"}, label="silu"),
    LayerCase(
        "Dense",
        {
            "units": 3,
            "activation": "tanh",
            "kernel_initializer": "he_normal",
            "bias_initializer": "ones",
            "kernel_regularizer": "l2",
            "bias_regularizer": "l1",
            "kernel_constraint": "max_norm",
            "bias_constraint": "non_neg",
        },
        label="all arguments",
    ),
    LayerCase("Dense", {"units": 3, "activity_regularizer": "l2"}, label="activity", frames=None),
    LayerCase("Activation", {"activation": "relu"}, SEQUENCE, keeps_mask=True),
    LayerCase("Activation", {"activation": "softmax"}, label="softmax"),
    LayerCase(
        "Embedding",
        {"input_dim": 10, "output_dim": 4},
        (2, 6),
        kind="ids",
        unknown=(1,),
        input_gradient=False,
        exports=True,
    ),
    LayerCase(
        "Embedding",
        {"input_dim": 10, "output_dim": 4, "mask_zero": True, "embeddings_initializer": "he_normal"},
        (2, 6),
        "mask",
        kind="ids",
        input_gradient=False,
        keeps_mask=True,
        frames=None,
    ),
    LayerCase("Masking", {"mask_value": 0.5}, SEQUENCE, unknown=(1,), keeps_mask=True, frames=None),
    LayerCase("Identity", {}, SEQUENCE, unknown=(1, 2), keeps_mask=True),
]

RESHAPING = [
    LayerCase("Flatten", {}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase("Flatten", {"data_format": "channels_first"}, IMAGE, "channels first"),
    LayerCase("Flatten", {}, (4,), "vector"),
    LayerCase("Reshape", {"target_shape": (3, 6)}, SEQUENCE, exports=True),
    LayerCase("Reshape", {"target_shape": (-1, 9)}, SEQUENCE, "unknown", unknown=(1,)),
    LayerCase("Reshape", {"target_shape": ()}, (4, 1), "scalar"),
    LayerCase("Permute", {"dims": (3, 1, 2)}, IMAGE, unknown=(1, 3)),
    LayerCase("RepeatVector", {"n": 3}, (2, 5), unknown=(1,)),
    LayerCase("ZeroPadding1D", {"padding": (1, 2)}, SEQUENCE, unknown=(1,)),
    LayerCase("ZeroPadding1D", {"padding": 2, "data_format": "channels_first"}, SEQUENCE, "channels first"),
    LayerCase("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, IMAGE, unknown=(1, 2)),
    LayerCase("ZeroPadding2D", {"padding": (1, 2), "data_format": "channels_first"}, IMAGE, "channels first"),
    LayerCase("ZeroPadding3D", {"padding": 1}, VOLUME, unknown=(1, 2, 3)),
    LayerCase("Cropping1D", {"cropping": (1, 2)}, SEQUENCE, unknown=(1,)),
    LayerCase("Cropping2D", {"cropping": ((1, 0), (2, 1))}, IMAGE, unknown=(1, 2), frames=4),
    LayerCase("Cropping2D", {"cropping": 1, "data_format": "channels_first"}, (2, 3, 6, 5), "channels first", frames=4),
    LayerCase("Cropping3D", {"cropping": (1, 2, 1)}, VOLUME, unknown=(1, 2, 3), frames=4),
    LayerCase("UpSampling1D", {"size": 3}, SEQUENCE, unknown=(1,)),
    LayerCase("UpSampling2D", {"size": (2, 3)}, IMAGE, unknown=(1, 2), exports=True),
    LayerCase("UpSampling2D", {"data_format": "channels_first"}, IMAGE, "channels first"),
    LayerCase("UpSampling2D", {"interpolation": "bilinear"}, IMAGE, "bilinear", unknown=(1, 2)),
    LayerCase("UpSampling2D", {"interpolation": "bicubic", "size": 3}, IMAGE, "bicubic"),
    LayerCase("UpSampling3D", {"size": (1, 2, 3)}, VOLUME, unknown=(1, 2, 3)),
]

MERGING = [
    LayerCase("Add", {}, IMAGES, unknown=(1, 2), exports=True),
    LayerCase("Add", {}, [(2, 4, 3), (2, 1, 3), (2, 3)], "ranks", frames=7),
    LayerCase("Add", {}, PAIR, "mask", keeps_mask=True),
    LayerCase("Subtract", {}, PAIR, keeps_mask=True),
    LayerCase("Multiply", {}, PAIR, keeps_mask=True),
    LayerCase("Average", {}, PAIR, keeps_mask=True),
    LayerCase("Maximum", {}, PAIR, keeps_mask=True),
    LayerCase("Minimum", {}, PAIR, keeps_mask=True),
    LayerCase("Concatenate", {}, [(2, 4, 3), (2, 4, 1)], unknown=(1,), keeps_mask=True, exports=True),
    LayerCase("Concatenate", {"axis": 1}, [(2, 4, 3), (2, 1, 3)], "axis", unknown=(1,), keeps_mask=True),
    LayerCase("Dot", {"axes": 1}, [(2, 4), (2, 4)]),
    LayerCase("Dot", {"axes": (2, 1), "normalize": True}, [(2, 4, 3), (2, 3, 5)], "normalize"),
]

REGULARIZATION = [
    LayerCase("Dropout", {"rate": 0.5}, keeps_mask=False, exports=True),
    LayerCase("Dropout", {"rate": 0.5, "noise_shape": (None, 1, None), "seed": 3}, SEQUENCE, "noise", keeps_mask=True),
    LayerCase("SpatialDropout1D", {"rate": 0.5}, SEQUENCE, unknown=(1,), keeps_mask=True),
    LayerCase("SpatialDropout2D", {"rate": 0.5, "data_format": "channels_first"}, IMAGE, unknown=(2, 3)),
    LayerCase("SpatialDropout3D", {"rate": 0.5, "seed": 1}, VOLUME, unknown=(1, 2, 3)),
    LayerCase("GaussianNoise", {"stddev": 0.3}, SEQUENCE, keeps_mask=True),
    LayerCase("GaussianDropout", {"rate": 0.3, "seed": 4}, SEQUENCE, keeps_mask=True),
    LayerCase("AlphaDropout", {"rate": 0.3}, SEQUENCE, keeps_mask=True),
    LayerCase("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, SEQUENCE, keeps_mask=True, frames=None),
]

ACTIVATION = [
    LayerCase("ReLU", {}, SEQUENCE, keeps_mask=True),
    LayerCase("ReLU", {"max_value": 6}, label="6"),
    LayerCase("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, label="all", frames=6),
    LayerCase("LeakyReLU", {"negative_slope": 0.2}, SEQUENCE, keeps_mask=True),
    LayerCase("PReLU", {"alpha_initializer": "ones"}, keeps_mask=False),
    LayerCase("PReLU", {"shared_axes": [1, 2], "alpha_regularizer": "l2"}, IMAGE, "shared", unknown=(1, 2)),
    LayerCase("ELU", {"alpha": 0.5}, SEQUENCE, keeps_mask=True),
    LayerCase("Softmax", {}),
    LayerCase("Softmax", {"axis": [1, 2]}, IMAGE, "axes"),
]

CASES = [*CORE, *RESHAPING, *MERGING, *REGULARIZATION, *ACTIVATION]
