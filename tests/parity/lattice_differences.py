"""Where lamina departs from Keras on purpose, with the reason. An entry that no longer differs makes the tests fail."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A deliberate difference of some ops: in which aspects, in which trials (a pattern of their labels), and why."""

    ops: str
    aspects: str
    where: str
    reason: str


DIFFERENCES: list[Known] = [
    Known(
        "dot_product_attention",
        "symbolic shape",
        "* sizes: *",
        "Keras copies the sizes of the query; the last one is that of the value",
    ),
    Known(
        "sparse_plus sparse_sigmoid activations.sparse_plus activations.sparse_sigmoid",
        "value",
        "* dtypes: uint*",
        "Keras compares unsigned integers with -1, which wraps round; not on JAX",
    ),
    Known(
        "average",
        "shape",
        "*axis=None*",
        "Keras on torch sums along the last axis, whatever the axis; on JAX and in NumPy the average is one number",
    ),
    Known(
        "average",
        "raises",
        "* dtypes: *, Python *",
        "a number as weights: Keras on torch gives the sum, not the mean; on JAX, in NumPy and symbolically it fails",
    ),
    Known(
        "associative_scan",
        "dtype, symbolic dtype",
        "* dtypes: uint*",
        "Keras on torch makes float32 of integers, or what it rounds their dtype up to; on JAX they keep their dtype",
    ),
    Known(
        "solve_triangular",
        "dtype, symbolic dtype",
        "* dtypes: float32, float64",
        "Keras on torch keeps the dtype of the first argument, although not for float64 and float32; here they promote",
    ),
    Known(
        "repeat",
        "symbolic shape",
        "repeat(2x3, [[]1, 2, 0], axis=1) sizes: *None)",
        "Keras's symbolic result does not know the size that a list of repeats sums up to; here it does",
    ),
    Known(
        "sum",
        "dtype, symbolic dtype",
        "sum(2x3, axis=[[][]]) dtypes: uint32",
        "over no axes Keras leaves uint32 alone; here the sum is int64, as over any axis, for uint32 as for uint16",
    ),
    Known("pad", "shape", "*constant_values=3*", "Keras on torch pads the last axis only; on JAX all of them"),
    Known("geomspace", "shape", "* dtypes: Python *", "Keras on torch puts the steps last; on JAX and in NumPy first"),
    Known(
        "image.gaussian_blur",
        "value, shape",
        "image.gaussian_blur(2x6x8x3*) *",
        "without a data_format Keras on torch and JAX takes every image for channels_first; here the default holds",
    ),
    Known(
        "sparsemax activations.sparsemax",
        "value",
        "*",
        "Keras's results do not sum to 1, on JAX either: those of this package do, as the paper defines them",
    ),
    Known(
        "average_pool",
        "dtype, symbolic dtype",
        "* dtypes: int64",
        "Keras on torch averages int64 in whole numbers and no other integers; on JAX and here means are floats",
    ),
    Known(
        "psnr",
        "dtype, symbolic dtype",
        "* dtypes: *int*, *float16",
        "Keras on torch makes float32 of integers beside half floats, and only if those stand second; on JAX they stay",
    ),
    Known(
        "ctc_decode",
        "value",
        "*beam_search* dtypes: *",
        "whole logits make sequences equally probable: which of them comes first differs on JAX too",
    ),
    Known(
        "image.resize",
        "value",
        "* dtypes: uint*",
        "Keras on torch cuts off uint16 and uint32, and rounds all other integers; here all are rounded",
    ),
    Known(
        "image.affine_transform",
        "value",
        "*nearest* dtypes: *float16",
        "Keras on torch computes places in half precision if the transform has it; here in float32",
    ),
    Known(
        "image.perspective_transform",
        "value",
        "* dtypes: *float16, *",
        "Keras on torch computes places in half precision if images or points have it; here in float32",
    ),
    Known(
        "random.gamma random.beta random.binomial",
        "raises",
        "*dtype=*int*",
        "Keras documents float dtypes only; on JAX it refuses others, on torch it cuts off what was drawn",
    ),
    Known(
        "average_pool",
        "value",
        "*padding=same*",
        "Keras on torch counts repeated edges; on JAX padding does not count",
    ),
    Known(
        "scatter",
        "value",
        "* dtypes: [bu]*",
        "Keras on torch takes indices of booleans and bytes for a mask and sets every element; on JAX it fails",
    ),
    Known(
        "nonzero",
        "shape, dtype",
        "*",
        "Keras on torch gives one tensor with a row for each axis; its symbolic results and JAX a tuple of tensors",
    ),
    Known(
        "size",
        "dtype, symbolic dtype, symbolic shape",
        "*",
        "Keras on torch makes a tensor of the number, and on JAX none; it is a number where it is known",
    ),
    Known(
        "bitwise_left_shift bitwise_right_shift left_shift right_shift",
        "dtype, symbolic dtype",
        "* dtypes: *bool, Python int",
        "a boolean shifted by a number: bool or int64 in Keras on torch, int32 on JAX and here",
    ),
    Known("einsum", "value", "* dtypes: bool*", "Keras on torch counts; its symbolic result and JAX are boolean"),
    Known(
        "segment_min segment_max",
        "value",
        "* dtypes: *, bool*",
        "segments of booleans: Keras on torch fills empty ones with zero or an overflow; on JAX it fails",
    ),
]
