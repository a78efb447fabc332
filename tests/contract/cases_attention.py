"""Cases of attention between given queries and values, and of the dense layers around it."""

from __future__ import annotations

from tests.contract.harness import LayerCase

PAIR = [(2, 6, 4), (2, 6, 4)]

CASES = [
    LayerCase("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c"}, exports=True),
    LayerCase(
        "EinsumDense",
        {
            "equation": "abc,cde->abde",
            "output_shape": (None, 2, 4),
            "bias_axes": "de",
            "activation": "relu",
            "kernel_regularizer": "l2",
            "kernel_constraint": "max_norm",
        },
        (2, 6, 3),
        "heads",
        unknown=(1,),
        exports=True,
    ),
    LayerCase(
        "EinsumDense", {"equation": "abcd,cde->abe", "output_shape": (None, 4)}, (2, 6, 3, 2), "back", unknown=(1,)
    ),
    LayerCase(
        "EinsumDense",
        {"equation": "...x,xy->...y", "output_shape": 7, "bias_axes": "y"},
        (2, 3, 4, 5),
        "dots",
        unknown=(1, 2),
    ),
    LayerCase("EinsumDense", {"equation": "abc,bd->adc", "output_shape": (5, None)}, (2, 3, 4), "general", frames=20),
    LayerCase("Attention", {}, PAIR, keeps_mask=True, frames=10, unknown=(1,), exports=True),
    LayerCase("Attention", {"use_scale": True}, [(2, 6, 4), (2, 3, 4), (2, 3, 4)], "key", frames=13, unknown=(1,)),
    LayerCase("Attention", {"score_mode": "concat", "dropout": 0.5}, PAIR, "concat", frames=10, tolerance=1e-4),
    LayerCase("AdditiveAttention", {}, PAIR, keeps_mask=True, frames=10, unknown=(1,)),
    LayerCase(
        "ReversibleEmbedding",
        {"input_dim": 10, "output_dim": 4, "tie_weights": False},
        (2, 6),
        kind="ids",
        unknown=(1,),
        input_gradient=False,
        weight_gradients=False,
        frames=4,
    ),
]
