"""Calls of the ops of neural networks, images, loops and random numbers, and of every activation function."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.parity.lattice_cases import RNG, A, B, J, K, T, U, V, W


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


IMAGES = RNG.uniform(0, 1, (2, 6, 8, 3)).astype("float32")
SIGNALS = normal(2, 9, 3)
VOLUMES = normal(1, 4, 5, 4, 2)
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], "float32")
ONE_HOT = np.array([[0, 1, 0], [1, 0, 0]], "float32")
LABELS = np.array([1, 2], "int32")
LENGTHS = np.array([7, 6], "int32")
PIXELS = np.array([[[0, 0], [0, 7], [5, 0], [5, 7]]] * 2, "float32")
SHIFTED = PIXELS + np.array([[1, 0], [0, -1], [-1, 0], [0, 0]], "float32")
AFFINE = np.array([[1, 0.1, -1, 0, 0.9, 1, 0, 0]] * 2, "float32")

ACTIVATIONS = (
    "celu elu gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid log_softmax "
    "relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax "
    "squareplus swish tanh_shrink"
)
E4 = A[:, :, None] * np.ones(4, "float32")

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *[(name, (E4 if name == "glu" else A,), {}) for name in ACTIVATIONS.split()],
    *[
        (f"activations.{name}", (E4 if name == "glu" else A,), {})
        for name in [*ACTIVATIONS.split(), "exponential", "linear", "mish", "tanh"]
    ],
    *[(f"{face}threshold", (A, 0.5, 0.1), {}) for face in ("", "activations.")],
    ("activations.relu", (A,), {"negative_slope": 0.1, "max_value": 1.5, "threshold": 0.3}),
    ("celu", (A, 0.5), {}),
    ("elu", (A, 0.5), {}),
    ("gelu", (A,), {"approximate": False}),
    ("leaky_relu", (A, 0.3), {}),
    ("softmax", (T,), {"axis": (1, 2)}),
    ("softmax", (T,), {"axis": 0}),
    ("log_softmax", (T,), {"axis": 1}),
    ("glu", (E4,), {"axis": 2}),
    ("squareplus", (A, 2), {}),
    # convolutions and pooling
    ("conv", (IMAGES, normal(3, 3, 3, 4)), {}),
    ("conv", (IMAGES, normal(3, 2, 3, 4)), {"strides": 2, "padding": "same"}),
    ("conv", (IMAGES, normal(3, 3, 3, 4)), {"dilation_rate": 2, "padding": "same"}),
    ("conv", (normal(2, 4, 6, 8), normal(3, 3, 2, 4)), {"data_format": "channels_first"}),
    ("conv", (SIGNALS, normal(3, 3, 4)), {"strides": 2}),
    ("conv", (VOLUMES, normal(2, 2, 2, 2, 3)), {}),
    ("conv_transpose", (IMAGES, normal(3, 3, 4, 3)), {"strides": 2}),
    ("conv_transpose", (IMAGES, normal(3, 3, 4, 3)), {"strides": 2, "padding": "same"}),
    ("conv_transpose", (IMAGES, normal(3, 3, 4, 3)), {"strides": 2, "output_padding": 1}),
    ("conv_transpose", (IMAGES, normal(2, 3, 4, 3)), {"dilation_rate": 2, "padding": "same"}),
    ("conv_transpose", (SIGNALS, normal(3, 4, 3)), {"strides": 3}),
    ("conv_transpose", (normal(2, 3, 6, 8), normal(3, 3, 4, 3)), {"data_format": "channels_first"}),
    ("depthwise_conv", (IMAGES, normal(3, 3, 3, 2)), {}),
    ("depthwise_conv", (IMAGES, normal(3, 3, 3, 1)), {"strides": 2, "padding": "same"}),
    ("depthwise_conv", (SIGNALS, normal(3, 3, 2)), {}),
    ("separable_conv", (IMAGES, normal(3, 3, 3, 2), normal(1, 1, 6, 4)), {}),
    ("separable_conv", (SIGNALS, normal(3, 3, 2), normal(1, 6, 4)), {"padding": "same"}),
    *[
        (name, args, kwargs)
        for name in ("max_pool", "average_pool")
        for args, kwargs in (
            ((IMAGES, 2), {}),
            ((IMAGES, (3, 2)), {"strides": 1, "padding": "same"}),
            ((SIGNALS, 2), {"strides": 2}),
            ((VOLUMES, 2), {}),
            ((normal(2, 3, 6, 8), 2), {"data_format": "channels_first"}),
        )
    ],
    *[
        (name, args, kwargs)
        for name in ("adaptive_max_pool", "adaptive_average_pool")
        for args, kwargs in (
            ((IMAGES, (3, 4)), {}),
            ((IMAGES, 3), {}),
            ((SIGNALS, 3), {}),
            ((VOLUMES, (2, 2, 2)), {}),
            ((normal(2, 3, 6, 8), (3, 4)), {"data_format": "channels_first"}),
        )
    ],
    ("unfold", (normal(2, 3, 6, 8), 2), {}),
    ("unfold", (normal(2, 3, 6, 8), (3, 2)), {"dilation": 2, "padding": 1, "stride": 2}),
    ("fold", (normal(2, 12, 15), (4, 6), 2), {}),
    ("fold", (normal(2, 12, 6), (4, 6), 2), {"stride": 2}),
    ("depth_to_space", (normal(2, 3, 4, 8), 2), {}),
    ("depth_to_space", (normal(2, 8, 3, 4), 2), {"data_format": "channels_first"}),
    ("space_to_depth", (normal(2, 4, 6, 3), 2), {}),
    ("space_to_depth", (normal(2, 3, 4, 6), 2), {"data_format": "channels_first"}),
    # normalization and attention
    ("batch_normalization", (T, normal(4), U[0, :1] + np.ones(4, "float32")), {"axis": -1}),
    (
        "batch_normalization",
        (T, normal(3), np.ones(3, "float32")),
        {"axis": 1, "offset": normal(3), "scale": normal(3), "epsilon": 0.01},
    ),
    ("layer_normalization", (T,), {}),
    ("layer_normalization", (T, normal(4), normal(4)), {}),
    ("layer_normalization", (T, normal(3, 4)), {"axis": (1, 2)}),
    ("rms_normalization", (T,), {}),
    ("rms_normalization", (T, normal(4)), {"epsilon": 0.1}),
    ("normalize", (T,), {}),
    ("normalize", (T,), {"axis": 1, "order": 1}),
    ("normalize", (T,), {"axis": (0, 2), "order": 3}),
    ("moments", (T,), {"axes": [0, 1]}),
    ("moments", (T,), {"axes": [1], "keepdims": True}),
    ("dot_product_attention", (normal(2, 5, 2, 4), normal(2, 6, 2, 4), normal(2, 6, 2, 4)), {}),
    ("dot_product_attention", (normal(2, 5, 2, 4), normal(2, 5, 2, 4), normal(2, 5, 2, 4)), {"is_causal": True}),
    ("dot_product_attention", (normal(2, 5, 2, 4), normal(2, 5, 1, 4), normal(2, 5, 1, 4)), {"scale": 0.3}),
    # losses and encodings
    *[
        (name, (ONE_HOT, PROBABILITIES), {"from_logits": logits})
        for name in ("binary_crossentropy", "categorical_crossentropy")
        for logits in (False, True)
    ],
    ("categorical_crossentropy", (ONE_HOT, PROBABILITIES), {"axis": 0}),
    ("sparse_categorical_crossentropy", (LABELS, PROBABILITIES), {}),
    ("sparse_categorical_crossentropy", (LABELS, PROBABILITIES), {"from_logits": True}),
    ("sparse_categorical_crossentropy", (LABELS[:, None], PROBABILITIES), {}),
    (
        "ctc_loss",
        (
            np.array([[1, 2, 1], [1, 2, 2]], "int32"),
            normal(2, 7, 4),
            np.array([3, 2], "int32"),
            np.array([7, 6], "int32"),
        ),
        {},
    ),
    ("ctc_decode", (normal(2, 7, 4), LENGTHS), {}),
    ("ctc_decode", (normal(2, 7, 4), LENGTHS), {"merge_repeated": False, "mask_index": 3}),
    (
        "ctc_decode",
        (normal(2, 7, 4), LENGTHS),
        {"strategy": "beam_search", "beam_width": 4, "top_paths": 2},
    ),
    ("one_hot", (K, 7), {}),
    ("one_hot", (K, 5), {"axis": 0, "dtype": "int32"}),
    ("multi_hot", (K,), {"num_classes": 7}),
    ("multi_hot", (K,), {"num_classes": 7, "axis": 1, "dtype": "int32"}),
    ("psnr", (IMAGES, IMAGES * 0.9, 1.0), {}),
    # images
    ("image.rgb_to_grayscale", (IMAGES,), {}),
    ("image.rgb_to_hsv", (IMAGES,), {}),
    ("image.hsv_to_rgb", (IMAGES,), {}),
    *[
        ("image.resize", (IMAGES, (4, 10)), {"interpolation": way})
        for way in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
    ],
    ("image.resize", (IMAGES, (3, 4)), {"antialias": True}),
    ("image.resize", (IMAGES, (5, 5)), {"crop_to_aspect_ratio": True}),
    ("image.resize", (IMAGES, (5, 5)), {"pad_to_aspect_ratio": True, "fill_value": 0.5}),
    ("image.resize", (IMAGES[0], (4, 10)), {}),
    ("image.resize", (IMAGES.transpose(0, 3, 1, 2), (4, 10)), {"data_format": "channels_first"}),
    *[("image.affine_transform", (IMAGES, AFFINE), {"interpolation": way}) for way in ("nearest", "bilinear")],
    *[
        ("image.affine_transform", (IMAGES, AFFINE), {"fill_mode": mode, "fill_value": 0.2})
        for mode in ("constant", "nearest", "wrap", "mirror", "reflect")
    ],
    *[
        ("image.perspective_transform", (IMAGES, PIXELS, SHIFTED), {"interpolation": i})
        for i in ("nearest", "bilinear")
    ],
    *[
        ("image.map_coordinates", (IMAGES[0, :, :, 0], normal(2, 4, 5) * 3 + 3, order), {"fill_mode": mode})
        for order in (0, 1)
        for mode in ("constant", "nearest", "wrap", "mirror", "reflect")
    ],
    ("image.extract_patches", (IMAGES, 2), {}),
    ("image.extract_patches", (IMAGES, (3, 2)), {"strides": 1, "padding": "same"}),
    ("image.extract_patches", (IMAGES, 2), {"strides": 1, "dilation_rate": 2}),
    ("image.extract_patches_3d", (VOLUMES, 2), {}),
    ("image.extract_patches_3d", (VOLUMES, (2, 3, 2)), {"strides": 1, "padding": "same"}),
    ("image.crop_images", (IMAGES, 1, 2), {"target_height": 3, "target_width": 4}),
    ("image.crop_images", (IMAGES, 1, 2, 1, 1), {}),
    ("image.pad_images", (IMAGES, 1, 2), {"target_height": 9, "target_width": 12}),
    ("image.pad_images", (IMAGES, 1, 2, 1, 1), {}),
    ("image.gaussian_blur", (IMAGES,), {}),
    ("image.gaussian_blur", (IMAGES, (5, 3), (2.0, 0.5)), {}),
    ("image.gaussian_blur", (IMAGES,), {"data_format": "channels_last"}),
    ("image.gaussian_blur", (IMAGES.transpose(0, 3, 1, 2), (5, 5), (2.0, 0.5)), {"data_format": "channels_first"}),
    ("image.elastic_transform", (IMAGES,), {"seed": 1}),
    ("image.sobel_edges", (IMAGES,), {}),
    ("image.ssim", (normal(1, 12, 12, 3), normal(1, 12, 12, 3)), {}),
    ("image.ssim", (IMAGES, IMAGES * 0.9), {"filter_size": 5, "filter_sigma": 1.0}),
    *[
        (
            "image.scale_and_translate",
            (IMAGES, (2, 9, 5, 3), np.array([1.5, 0.6], "float32"), np.array([0.5, -0.3], "float32"), (1, 2), method),
            {"antialias": antialias},
        )
        for method in ("linear", "cubic", "lanczos3", "lanczos5")
        for antialias in (True, False)
    ],
    # loops and branches
    ("while_loop", (lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), (0, A)), {}),
    ("fori_loop", (0, 3, lambda i, t: t + i, A), {}),
    ("scan", (lambda c, y: (c + y, c * y), A[0], A), {}),
    ("scan", (lambda c, y: (c + y, c * y), A[0], A), {"reverse": True}),
    ("map", (lambda y: y * 2, A), {}),
    ("vectorized_map", (lambda y: y * 2, A), {}),
    ("cond", (True, lambda: 1, lambda: 2), {}),
    ("switch", (1, [lambda y: y, lambda y: -y], A), {}),
    ("associative_scan", (lambda a, b: a * b, W), {}),
    ("associative_scan", (lambda a, b: a + b, T), {"reverse": True, "axis": 2}),
    ("jvp", (lambda y: y**2, (A,), (B,)), {}),
    ("vectorize", (lambda a, b: a * b,), {"of": (A, V)}),
    ("vectorize", (lambda a, b: a @ b,), {"signature": "(n,m),(m)->(n)", "of": (T, W)}),
    ("custom_gradient", (lambda x: (x * 2, lambda *args, upstream: upstream),), {"of": (A,)}),
    # random numbers: shapes and dtypes
    *[
        (f"random.{name}", args, {"seed": 1, **({"dtype": dtype} if dtype else {})})
        for name, args in {
            "normal": ((2, 3),),
            "uniform": ((2, 3),),
            "truncated_normal": ((2, 3),),
            "randint": ((2, 3), 0, 5),
            "gamma": ((2, 3), 2.0),
            "beta": ((2, 3), 2.0, 3.0),
            "binomial": ((2, 3), 5.0, 0.3),
        }.items()
        for dtype in (None, "float16", "bfloat16", "float32", "float64", "int8", "int32", "int64", "uint8")
    ],
    ("random.gamma", ((2, 3), B), {"seed": 1}),
    ("random.beta", ((2, 3), B, B + 1), {"seed": 1}),
    ("random.binomial", ((2, 3), J.astype("float32"), U), {"seed": 1}),
    ("random.categorical", (np.log(PROBABILITIES), 5), {"seed": 1}),
    ("random.categorical", (np.log(PROBABILITIES), 5), {"dtype": "int64", "seed": 1}),
    ("random.dropout", (A, 0.3), {"seed": 1}),
    ("random.dropout", (T, 0.3), {"noise_shape": (2, 1, 4), "seed": 1}),
    ("random.shuffle", (T,), {"axis": 1, "seed": 1}),
]
