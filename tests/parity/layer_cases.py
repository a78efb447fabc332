"""The grid of the layers: for each with a computation, its arguments, the values they take, and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.parity.layer_grid import POLICIES, Known, L, Row, T

ROWS, MASKED = T((2, 6, 3)), T((2, 6, 3), mask=True)
VECTORS, IMAGES, VOLUMES = T((4, 5)), T((2, 6, 5, 4)), T((2, 5, 6, 4, 4))
STEPS, FIRST = T((2, 9, 4)), T((2, 4, 9))
NUMBERS, IDS = T((2, 6), "float"), T((2, 6), "ids")
PIXELS = T((2, 8, 9, 3), "pixels")
FORMATS = ("channels_last", "channels_first")
ONE_OFF = (None, "l2")
BOTH = (False, True)
# What every layer with a kernel has.
WEIGHTS = {
    "kernel_regularizer": ONE_OFF,
    "bias_regularizer": (None, "l1"),
    "activity_regularizer": ONE_OFF,
    "kernel_constraint": (None, "max_norm"),
}
RANKED = {1: (T((2, 9, 4)), T((2, 7, 4))), 2: (T((2, 8, 7, 4)),), 3: (T((2, 5, 6, 5, 4)),)}
STRIDED = {"strides": (1, 2), "padding": ("valid", "same"), "data_format": FORMATS, "activation": (None, "relu")}

ACTIVATIONS = (
    "relu leaky_relu relu6 softmax log_softmax celu hard_tanh mish softplus exponential elu selu gelu silu sigmoid "
    "tanh softsign hard_sigmoid hard_silu tanh_shrink glu hard_shrink soft_shrink sparse_plus sparse_sigmoid "
    "squareplus threshold log_sigmoid linear"
).split()

TABLE: dict[str, list[Row]] = {
    "Dense": [
        Row(
            {"units": 4},
            [VECTORS, ROWS, MASKED, IMAGES, T((2, 5), "ids"), T((2, 5), dtype="float64")],
            {"use_bias": (True, False), "activation": (None, "relu", "softmax", "gelu", "tanh", "sigmoid"), **WEIGHTS},
        )
    ],
    "EinsumDense": [
        Row(
            {"equation": "ab,bc->ac", "output_shape": 3},
            [VECTORS],
            {"bias_axes": (None, "c"), **WEIGHTS, "activation": (None, "relu")},
        ),
        Row(
            {"equation": "abc,cde->abde", "output_shape": (None, 2, 4)},
            [ROWS, MASKED],
            {"bias_axes": (None, "de", "e")},
        ),
        Row({"equation": "abcd,cde->abe", "output_shape": (None, 4)}, [T((2, 6, 3, 2))], {"bias_axes": (None, "e")}),
        Row({"equation": "...x,xy->...y", "output_shape": 7}, [VECTORS, T((2, 3, 4, 5))], {"bias_axes": (None, "y")}),
        Row({"equation": "abc,bd->adc", "output_shape": (5, None)}, [T((2, 3, 4))], {"bias_axes": (None, "d", "dc")}),
        Row({"equation": "ab...,bc->ac...", "output_shape": (3,)}, [T((2, 3, 4))], {"bias_axes": (None, "c")}),
        Row({"equation": "ab,ab->a", "output_shape": ()}, [T((4, 5))], {"output_shape": ((), (2,))}, symbolic=False),
        Row(
            {"equation": "abc,ac->ab", "output_shape": (None,)},
            [T((2, 3, 4))],
            {"bias_axes": (None, "b")},
            symbolic=False,
        ),
    ],
    "Activation": [Row({}, [ROWS, MASKED, VECTORS], {"activation": ACTIVATIONS}, policies=())],
    "Embedding": [
        Row(
            {"input_dim": 10, "output_dim": 4},
            [IDS, T((2, 6), "ids", dtype="int32"), T((2, 6), "ids", dtype="uint8"), T((2, 3, 4), "ids")],
            {"mask_zero": BOTH, "embeddings_regularizer": ONE_OFF, "embeddings_constraint": (None, "unit_norm")},
        )
    ],
    "ReversibleEmbedding": [
        Row({"input_dim": 10, "output_dim": 4}, [IDS], {"tie_weights": BOTH, "mask_zero": BOTH}),
        Row(
            {"input_dim": 10, "output_dim": 4},
            [ROWS, T((2, 6, 4))],
            {"tie_weights": BOTH, "logit_soft_cap": (None, 2.0), "reverse_dtype": (None, "float32", "bfloat16")},
            calls=[{"reverse": True}],
            policies=(),
        ),
    ],
    "Masking": [Row({}, [ROWS, MASKED, T((2, 6, 3), "ids", 3, "float32")], {"mask_value": (0.0, 1.0)})],
    "Identity": [Row({}, [ROWS, MASKED, IDS])],
    "Flatten": [Row({}, [T((3,)), VECTORS, ROWS, MASKED, IMAGES], {"data_format": FORMATS})],
    "Reshape": [
        Row(
            {"target_shape": (18,)},
            [ROWS, MASKED],
            {"target_shape": ((18,), (3, 6), (-1,), (2, -1), (-1, 3, 3), (18, 1, 1), (5,), (-1, 4))},
        )
    ],
    "Permute": [
        Row({"dims": (1, 2, 3)}, [IMAGES], {"dims": ((1, 2, 3), (3, 1, 2), (2, 3, 1), (2, 1))}),
        Row({"dims": (2, 1)}, [ROWS, MASKED]),
    ],
    "RepeatVector": [Row({"n": 3}, [VECTORS, ROWS], {"n": (1, 3, 0)})],
    "ZeroPadding1D": [Row({}, [ROWS, MASKED], {"padding": (1, 0, (1, 3)), "data_format": (None, *FORMATS)})],
    "ZeroPadding2D": [
        Row({}, [IMAGES], {"padding": (1, (1, 2), ((0, 1), (2, 3)), (1, (2, 0))), "data_format": FORMATS})
    ],
    "ZeroPadding3D": [
        Row({}, [VOLUMES], {"padding": (1, (1, 0, 2), ((1, 0), (0, 2), (3, 0))), "data_format": FORMATS})
    ],
    "Cropping1D": [Row({}, [ROWS, MASKED], {"cropping": (1, 0, (0, 2), (2, 1), (3, 3))})],
    "Cropping2D": [Row({}, [IMAGES], {"cropping": (1, 0, (1, 0), ((0, 1), (1, 2))), "data_format": FORMATS})],
    "Cropping3D": [Row({}, [VOLUMES], {"cropping": (1, (1, 0, 1), ((1, 0), (0, 2), (1, 1))), "data_format": FORMATS})],
    "UpSampling1D": [Row({}, [ROWS, MASKED], {"size": (1, 2, 3)})],
    "UpSampling2D": [
        Row(
            {},
            [IMAGES],
            {"size": (1, 2, (1, 3)), "data_format": FORMATS, "interpolation": ("nearest", "bilinear", "bicubic")},
            tolerance=10,
        )
    ],
    "UpSampling3D": [Row({}, [VOLUMES], {"size": (2, (1, 2, 3)), "data_format": FORMATS})],
    **{
        name: [
            Row(
                {},
                [
                    [ROWS, ROWS],
                    [ROWS, T((2, 1, 3))],
                    [MASKED, MASKED],
                    [MASKED, ROWS],
                    [ROWS, T((2, 3))],
                    [T((2, 1, 1)), ROWS],
                ],
            ),
            Row(
                {},
                [
                    [ROWS],
                    [ROWS, ROWS, ROWS],
                    [MASKED, ROWS, MASKED],
                    [ROWS, T((2, 4, 3))],
                    [T((2, 3), "ids"), T((2, 3), "ids")],
                ],
                policies=(),
            ),
        ]
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    },
    "Concatenate": [
        Row(
            {},
            [
                [ROWS, ROWS],
                [MASKED, MASKED],
                [MASKED, ROWS],
                [ROWS, T((2, 6, 1))],
                [ROWS, T((2, 2, 3))],
                [ROWS, T((2, 3))],
            ],
            {"axis": (-1, 1, 2, 0)},
        )
    ],
    "Dot": [
        Row(
            {},
            [
                [ROWS, ROWS],
                [ROWS, T((2, 3, 5))],
                [T((2, 6)), ROWS],
                [T((2, 4)), T((2, 4))],
                [T((2, 3, 5, 4)), T((2, 6, 7, 5))],
            ],
            {"axes": (1, -1, (1, 1), (2, 1), (1, 2), (2, 3)), "normalize": BOTH},
            policies=(),
        ),
        Row({"axes": 1}, [[T((2, 4)), T((2, 4))]]),
    ],
    "ReLU": [
        Row({}, [ROWS, MASKED], {"max_value": (None, 6, 0.5), "negative_slope": (0.0, 0.3), "threshold": (0.0, 0.4)})
    ],
    "LeakyReLU": [Row({}, [ROWS, MASKED], {"negative_slope": (0.3, 0.0, 0.1)})],
    "PReLU": [
        Row(
            {},
            [IMAGES],
            {
                "shared_axes": (None, [1], [1, 2], [1, 2, 3]),
                "alpha_regularizer": ONE_OFF,
                "alpha_constraint": (None, "non_neg"),
            },
        )
    ],
    "ELU": [Row({}, [ROWS, MASKED], {"alpha": (1.0, 0.3)})],
    "Softmax": [
        Row({}, [ROWS, MASKED, IMAGES], {"axis": (-1, 1, [1, 2])}),
        Row({}, [ROWS], {"axis": (-1, 1)}, calls=[{"mask": T((2, 6, 3), "bool")}, {"mask": T((2, 1, 3), "bool")}]),
    ],
    **{
        name: [Row(base, [ROWS, MASKED], vary, training=[False])]
        for name, base, vary in (
            ("Dropout", {}, {"rate": (0.0, 0.5, 1.0), "noise_shape": (None, (2, 1, 3)), "seed": (None, 3)}),
            ("GaussianNoise", {}, {"stddev": (0.0, 0.5)}),
            ("GaussianDropout", {}, {"rate": (0.0, 0.5)}),
            ("AlphaDropout", {}, {"rate": (0.0, 0.5), "noise_shape": (None, (2, 1, 3))}),
            ("SpatialDropout1D", {}, {"rate": (0.0, 0.5)}),
        )
    },
    "SpatialDropout2D": [Row({}, [IMAGES], {"rate": (0.0, 0.5), "data_format": FORMATS}, training=[False])],
    "SpatialDropout3D": [Row({}, [VOLUMES], {"rate": (0.0, 0.5), "data_format": FORMATS}, training=[False])],
    "ActivityRegularization": [Row({}, [ROWS, MASKED], {"l1": (0.0, 0.3), "l2": (0.0, 0.2)})],
    "Rescaling": [
        Row(
            {"scale": 0.5},
            [ROWS, MASKED, T((2, 3), "ids")],
            {"scale": (0.5, [0.5, 1.0, 2.0]), "offset": (0.0, 1.0, [1.0, 2.0, 3.0])},
        )
    ],
    "Normalization": [
        Row(
            {"mean": [0.5, 1.0, -1.0], "variance": [1.0, 4.0, 0.25]}, [ROWS, T((4, 3))], {"invert": BOTH, "axis": (-1,)}
        ),
        Row({"mean": 1.0, "variance": 2.0, "axis": None}, [ROWS, T((4, 3))], {"invert": BOTH}),
    ],
    "Discretization": [
        Row(
            {"bin_boundaries": [-1.0, 0.0, 0.5]},
            [VECTORS, T((4,)), T((4, 1))],
            {"output_mode": ("int", "one_hot", "multi_hot", "count")},
            policies=(),
            symbolic=False,
        )
    ],
    "CategoryEncoding": [
        Row(
            {"num_tokens": 10},
            [IDS, T((4, 1), "ids")],
            {"output_mode": ("multi_hot", "one_hot", "count")},
            policies=(),
        ),
        Row(
            {"num_tokens": 10, "output_mode": "count"},
            [IDS],
            calls=[{"count_weights": T((2, 6), "positive")}],
            policies=(),
            symbolic=False,
        ),
    ],
    "MelSpectrogram": [
        Row(
            {"fft_length": 64, "sequence_stride": 32, "sampling_rate": 8000},
            [T((2, 400)), T((400,))],
            {
                "num_mel_bins": (6, 12),
                "window": ("hann", "hamming"),
                "power_to_db": BOTH,
                "mag_exp": (1.0, 2.0),
                "min_freq": (20.0, 100.0),
            },
            policies=(),
            tolerance=30,
            symbolic=False,
        )
    ],
    "STFTSpectrogram": [
        Row(
            {"frame_length": 32, "frame_step": 20},
            [T((2, 200, 2)), T((2, 200, 1))],
            {
                "mode": ("log", "magnitude", "psd", "real", "imag", "angle", "stft"),
                "padding": ("valid", "same"),
                "expand_dims": BOTH,
                "window": ("hann", None),
                "fft_length": (None, 64),
            },
            policies=(),
            tolerance=30,
        )
    ],
}

# Convolution, pooling and normalization.
for _rank, _shapes in RANKED.items():
    _dilated = {"dilation_rate": (1, 2)}
    _paddings = {"padding": ("valid", "same", "causal")} if _rank == 1 else {}
    _kernel = {"use_bias": (True, False), "kernel_size": (3, 1, 2), **STRIDED, **_dilated}
    TABLE[f"Conv{_rank}D"] = [
        Row({"filters": 6, "kernel_size": 3}, _shapes, {**_kernel, **_paddings, "groups": (1, 2), **WEIGHTS}),
        Row({"filters": 6, "kernel_size": 3}, _shapes, {"groups": (1, 2), **_dilated, "data_format": FORMATS}),
    ]
    _transposed = {**_kernel, "output_padding": (None, 0, 1)}
    TABLE[f"Conv{_rank}DTranspose"] = [
        Row({"filters": 3, "kernel_size": 3}, _shapes, {**_transposed, **WEIGHTS}, tolerance=10 if _rank == 3 else 1)
    ]
    if _rank < 3:
        _deep = {**_kernel, "depth_multiplier": (1, 2)}
        TABLE[f"DepthwiseConv{_rank}D"] = [
            Row({"kernel_size": 3}, _shapes, {**_deep, "depthwise_regularizer": ONE_OFF})
        ]
        _both = {**_deep, "depthwise_regularizer": ONE_OFF, "pointwise_regularizer": ONE_OFF}
        TABLE[f"SeparableConv{_rank}D"] = [Row({"filters": 3, "kernel_size": 3}, _shapes, _both)]
    for _kind in ("Max", "Average"):
        _pooled = {
            "pool_size": (2, 1, 3),
            "strides": (None, 1, 3),
            "padding": ("valid", "same"),
            "data_format": FORMATS,
        }
        _masked = [T((2, 9, 4), mask=True)] if _rank == 1 else []
        TABLE[f"{_kind}Pooling{_rank}D"] = [Row({}, _shapes, _pooled)]
        TABLE[f"Global{_kind}Pooling{_rank}D"] = [
            Row({}, [*_shapes, *_masked], {"keepdims": BOTH, "data_format": FORMATS})
        ]
        TABLE[f"Adaptive{_kind}Pooling{_rank}D"] = [
            Row({"output_size": 3}, _shapes, {"output_size": (1, 2, 3), "data_format": FORMATS})
        ]

_AFFINE = {"center": (True, False), "scale": (True, False), "epsilon": (1e-3, 1e-2)}
_NORMED = [IMAGES, MASKED, VECTORS]
TABLE |= {
    "BatchNormalization": [
        Row(
            {},
            _NORMED,
            {**_AFFINE, "axis": (-1, 1), "momentum": (0.99, 0.5), "gamma_regularizer": ONE_OFF, "renorm": BOTH},
            training=BOTH,
            tolerance=3,
        ),
        Row({}, [MASKED], {**_AFFINE, "axis": (-1,)}, training=[True], policies=()),
        Row(
            {"renorm": True},
            [IMAGES],
            {"renorm_momentum": (0.99, 0.5), "renorm_clipping": (None, {"rmax": 1.5, "rmin": 0.5, "dmax": 0.3})},
            training=[True],
            policies=(),
            tolerance=10,
        ),
    ],
    "LayerNormalization": [
        Row({}, _NORMED, {**_AFFINE, "axis": (-1, 1, [1, -1]), "beta_regularizer": ONE_OFF}, tolerance=3)
    ],
    "GroupNormalization": [
        Row({}, [IMAGES, T((4, 4))], {**_AFFINE, "groups": (2, 4, 1, -1), "axis": (-1, 1)}, tolerance=3)
    ],
    "RMSNormalization": [Row({}, _NORMED, {"axis": (-1, 1, [1, -1]), "epsilon": (1e-6, 1e-2)}, tolerance=3)],
    "UnitNormalization": [Row({}, _NORMED, {"axis": (-1, 1, [1, -1]), "order": (2,)}, tolerance=3)],
}

# Attention.
_SHORT = T((2, 4, 3))
_PAIRS = [[ROWS, ROWS], [ROWS, _SHORT], [ROWS, _SHORT, _SHORT], [MASKED, MASKED], [ROWS, T((2, 4, 3), mask=True)]]
_SCORED = {"return_attention_scores": True}
_HEADS = [(ROWS, ROWS), (ROWS, _SHORT), (ROWS, _SHORT, T((2, 4, 5))), (MASKED, MASKED), (ROWS, T((2, 4, 3), mask=True))]
_CALLS = [{}, {"use_causal_mask": True}, _SCORED, {"attention_mask": T((2, 6, 4), "bool")}]
_PROJECTED = {"use_bias": (True, False), "kernel_regularizer": ONE_OFF, "bias_regularizer": ONE_OFF}
TABLE |= {
    "Attention": [
        Row(
            {},
            _PAIRS,
            {"use_scale": BOTH, "score_mode": ("dot", "concat"), "dropout": (0.0, 0.5)},
            [{}, {"use_causal_mask": True}, _SCORED],
            [False],
            tolerance=3,
        )
    ],
    "AdditiveAttention": [
        Row({}, _PAIRS, {"use_scale": (True, False)}, [{}, {"use_causal_mask": True}, _SCORED], [False], tolerance=3)
    ],
    "MultiHeadAttention": [
        Row(
            {"num_heads": 2, "key_dim": 3},
            _HEADS,
            {
                **_PROJECTED,
                "value_dim": (None, 5),
                "output_shape": (None, 7, (2, 3)),
                "dropout": (0.0, 0.5),
                "use_gate": BOTH,
            },
            _CALLS,
            [False],
            tolerance=5,
        ),
        Row(
            {"num_heads": 2, "key_dim": 3},
            [(T((2, 3, 4, 3)), T((2, 3, 4, 3)))],
            {"attention_axes": ((1,), (2,), (1, 2))},
            training=[False],
            tolerance=5,
        ),
    ],
    "GroupQueryAttention": [
        Row(
            {"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2},
            _HEADS,
            {**_PROJECTED, "num_key_value_heads": (1, 2, 4), "dropout": (0.0, 0.5), "use_gate": BOTH},
            _CALLS,
            [False],
            tolerance=5,
        )
    ],
}

# Recurrent layers and wrappers.
_GATED = {
    "return_sequences": BOTH,
    "return_state": BOTH,
    "go_backwards": BOTH,
    "unroll": BOTH,
    "zero_output_for_mask": BOTH,
    "use_bias": (True, False),
    "activation": ("tanh", "relu", None),
    "stateful": BOTH,
    "dropout": (0.0, 0.3),
    "recurrent_dropout": (0.0, 0.3),
    "kernel_regularizer": ONE_OFF,
    "recurrent_regularizer": ONE_OFF,
    "bias_regularizer": ONE_OFF,
    "activity_regularizer": ONE_OFF,
}
_ALSO = {"LSTM": {"unit_forget_bias": (True, False)}, "GRU": {"reset_after": (True, False)}, "SimpleRNN": {}}
_STATE = T((2, 5))
for _name, _more in _ALSO.items():
    _gates = {} if _name == "SimpleRNN" else {"recurrent_activation": ("sigmoid", "hard_sigmoid")}
    _initial = [_STATE, _STATE] if _name == "LSTM" else _STATE
    _starts = [{}, {"initial_state": _initial}, {"mask": T((2, 6), "bool")}]
    TABLE[_name] = [Row({"units": 5}, [ROWS, MASKED], {**_GATED, **_more, **_gates}, _starts, [False], tolerance=3)]
    _cell = {"use_bias": (True, False), "activation": ("tanh", "relu"), "dropout": (0.0, 0.3)}
    TABLE[f"{_name}Cell"] = [
        Row(
            {"units": 5},
            [(VECTORS, [T((4, 5))] * (1 + (_name == "LSTM")))],
            {**_cell, **_more, **_gates},
            training=[False],
        )
    ]

_FILTERS = {"filters": 3, "kernel_size": 3}
for _rank, _shape in {1: (2, 4, 7, 4), 2: (2, 3, 6, 5, 4), 3: (2, 3, 4, 5, 4, 4)}.items():
    _options = {key: _GATED[key] for key in list(_GATED) if key not in ("unroll", "zero_output_for_mask")}
    # torch's bfloat16 gradient of 3D kernels has numbers in it that were never set: lamina's and Keras's differ by run.
    TABLE[f"ConvLSTM{_rank}D"] = [
        Row(
            _FILTERS,
            [T(_shape), T(_shape, mask=True)],
            {
                **_options,
                "padding": ("valid", "same"),
                "strides": (1, 2),
                "dilation_rate": (1, 2),
                "data_format": FORMATS,
            },
            training=[False],
            policies=POLICIES if _rank < 3 else POLICIES[:1],
            tolerance=5,
        )
    ]

_CELLS = [L("LSTMCell", {"units": 3}), L("GRUCell", {"units": 4}), L("SimpleRNNCell", {"units": 5})]
_RUNS = {
    key: _GATED[key]
    for key in ("return_sequences", "return_state", "go_backwards", "unroll", "stateful", "zero_output_for_mask")
}
_DENSE, _CONV = L("Dense", {"units": 3}), L("Conv2D", {"filters": 3, "kernel_size": 2})
_INNER = [
    L(name, {"units": 3, "return_sequences": sequences, "return_state": state})
    for name in ("LSTM", "GRU", "SimpleRNN")
    for sequences in BOTH
    for state in BOTH
]
TABLE |= {
    "RNN": [
        Row(
            {"cell": _CELLS[0]},
            [ROWS, MASKED],
            {"cell": (*_CELLS, L("StackedRNNCells", {"cells": _CELLS})), **_RUNS},
            policies=(),
            training=[False],
            tolerance=3,
        )
    ],
    "StackedRNNCells": [Row({"cells": _CELLS[1:]}, [(VECTORS, [T((4, 4)), T((4, 5))])], policies=(), training=[False])],
    "Bidirectional": [
        Row(
            {"layer": _INNER[0]},
            [ROWS, MASKED],
            {"layer": _INNER, "merge_mode": ("concat", "sum", "mul", "ave", None)},
            policies=(),
            training=[False],
            tolerance=3,
        )
    ],
    "TimeDistributed": [
        Row(
            {"layer": _DENSE},
            [ROWS, MASKED],
            {"layer": (_DENSE, L("Dropout", {"rate": 0.5}), L("LayerNormalization"))},
            policies=(),
            training=[False],
        ),
        Row(
            {"layer": _CONV},
            [T((2, 3, 6, 5, 4))],
            {"layer": (_CONV, L("BatchNormalization"), L("Flatten"))},
            policies=(),
            training=BOTH,
        ),
    ],
    "SpectralNormalization": [
        Row({"layer": _DENSE}, [VECTORS, ROWS], {"power_iterations": (1, 3)}, policies=(), training=BOTH),
        Row({"layer": _CONV}, [IMAGES], {"power_iterations": (1, 3)}, policies=(), training=BOTH),
    ],
}

# Images: what is drawn at random is drawn by lamina, and done by both.
_FILLED = {
    "fill_mode": ("reflect", "constant", "nearest", "wrap"),
    "interpolation": ("nearest", "bilinear"),
    "data_format": FORMATS,
}
_RANGED = {"value_range": ((0, 255),), "data_format": FORMATS}
_DRAWN: dict[str, dict[str, Sequence[Any]]] = {
    "RandomFlip": {"mode": ("horizontal", "vertical", "horizontal_and_vertical"), "data_format": FORMATS},
    "RandomRotation": {"factor": (0.3, (-0.1, 0.2)), **_FILLED},
    "RandomTranslation": {"height_factor": (0.3, (-0.2, 0.4)), "width_factor": (0.0, 0.2), **_FILLED},
    "RandomZoom": {"height_factor": (0.3, (-0.3, -0.1)), "width_factor": (None, 0.2), **_FILLED},
    "RandomShear": {"x_factor": (0.0, 0.3), "y_factor": (0.0, (0.1, 0.2)), **_FILLED},
    "RandomPerspective": {"scale": (0.4, 1.0), "interpolation": ("nearest", "bilinear"), "data_format": FORMATS},
    "RandomBrightness": {"factor": (0.4, (-0.1, 0.2)), **_RANGED},
    "RandomContrast": {"factor": (0.3, (0.2, 0.4)), **_RANGED},
    "RandomHue": {"factor": (0.3, (0.2, 0.4)), **_RANGED},
    "RandomSaturation": {"factor": (0.3, (0.2, 0.4)), **_RANGED},
    "RandomSharpness": {"factor": (0.5, 1.0), **_RANGED},
    "RandomColorDegeneration": {"factor": (0.3, (0.2, 0.4)), **_RANGED},
    "RandomPosterization": {"factor": (4, 8), **_RANGED},
    "RandomGrayscale": {"factor": (0.0, 0.5, 1.0), "data_format": FORMATS},
    "RandomInvert": {"factor": ((0.5, 0.5), (1.0, 1.0)), **_RANGED},
    "RandomGaussianBlur": {"factor": ((0.5, 0.5), 1.0), "kernel_size": (3, 5), **_RANGED},
    "RandomErasing": {"factor": ((0.7, 0.7), 1.0), "scale": ((0.1, 0.6), (0.02, 0.33)), **_RANGED},
    "Solarization": {"addition_factor": (0.0, 0.3), "threshold_factor": (0.0, 0.8), **_RANGED},
    "MixUp": {"alpha": (0.2, 1.0), "data_format": FORMATS},
    "CutMix": {"factor": (1.0, 0.3), "data_format": FORMATS},
}
for _name, _vary in _DRAWN.items():
    TABLE[_name] = [Row({}, [PIXELS, T((2, 8, 9, 3), "positive")], _vary, policies=(), drawn=True, tolerance=10)]
TABLE |= {
    "Resizing": [
        Row(
            {"height": 5, "width": 7},
            [PIXELS, T((8, 9, 3), "pixels")],
            {
                "interpolation": ("bilinear", "nearest", "bicubic"),
                "crop_to_aspect_ratio": BOTH,
                "pad_to_aspect_ratio": BOTH,
                "antialias": BOTH,
                "fill_value": (0.0, 3.0),
                "data_format": FORMATS,
            },
            policies=(),
            tolerance=20,
        )
    ],
    "CenterCrop": [
        Row(
            {"height": 4, "width": 5},
            [PIXELS, T((8, 9, 3), "pixels")],
            {"height": (4, 12), "width": (5, 12), "data_format": FORMATS},
            policies=(),
            tolerance=10,
        )
    ],
    "AutoContrast": [Row({}, [PIXELS], policies=(), tolerance=10, symbolic=False)],
    "Equalization": [Row({}, [PIXELS], {"bins": (256, 64)}, policies=(), tolerance=10, symbolic=False)],
    "Lambda": [Row({"function": lambda x: x * 2}, [ROWS, MASKED], policies=())],
}

# Layers of the public API that no grid can compare, and why.
WITHOUT = {
    "Layer Wrapper InputLayer": "compute nothing",
    "TFSMLayer JaxLayer FlaxLayer": "belong to other frameworks, and refuse to be made",
    "StringLookup IntegerLookup TextVectorization Hashing HashedCrossing": "need TensorFlow in Keras; known answers "
    "stand in tests/layers/test_preprocessing_text.py",
    "Pipeline RandAugment AugMix RandomColorJitter RandomElasticTransform RandomCrop": "draw in nests of "
    "layers; compared step by step in tests/parity/test_parity_image_*.py",
    "ContrastLimitedAdaptiveHistogramEqualization MaxNumBoundingBoxes": "see tests/parity/test_parity_image_*.py",
    "TorchModuleWrapper": "runs a torch module in both",
}


def _argument(name: str, *values: Any) -> Any:
    """Tells the cases in which an argument has one of these values."""
    return lambda difference: difference.case.arguments.get(name) in values


def _scores(difference: Any) -> bool:
    return bool(difference.case.call.get("return_attention_scores"))


DIFFERENCES = [
    Known(
        "Maximum Minimum Dot Attention AdditiveAttention",
        "outputs gradients",
        "Keras gives float32 under a float64 policy here, and float64 elsewhere",
        _argument("dtype", "float64"),
    ),
    Known(
        "Maximum Minimum",
        "outputs",
        "of int64 Keras makes int32 in these, and in no other merging layer",
        lambda difference: isinstance(difference.case.inputs, list) and difference.case.inputs[0].kind == "ids",
    ),
    Known(
        "AveragePooling2D AveragePooling3D",
        "outputs gradients",
        "padded unevenly, Keras on torch counts the padding in the mean, and on JAX and TensorFlow it does not",
        _argument("padding", "same"),
    ),
    Known(
        "SimpleRNN",
        "losses gradients",
        "Keras takes activity_regularizer and forgets it",
        _argument("activity_regularizer", "l2"),
    ),
    Known(
        "MultiHeadAttention GroupQueryAttention",
        "masks",
        "Keras leaves a mask of the softmax within on the scores that it returns",
        _scores,
    ),
    Known("GroupQueryAttention", "warning", "Keras's projections within warn of masks that the layer itself has used"),
]
