"""Ops under the names that Keras gives them in the config of a functional model.

Keras has a class for each op: its settings are the constructor's arguments and stand in the config, its tensors are the
arguments of the call and stand in the node. Here an op is one function, so its arguments are split accordingly.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

# For each module of Keras's ops: name, name of the class where it is not the same in CamelCase, tensors of the call.
_TABLE = {
    "numpy": """
        absolute(x); add(x1 x2); all(x); allclose:AllClose(x1 x2); amax(x); amin(x); angle(x); any(x); append(x1 x2);
        arange(start stop step); arccos(x); arccosh(x); arcsin(x); arcsinh(x); arctan(x); arctan2(x1 x2); arctanh(x);
        argmax(x); argmin(x); argpartition(x); argsort(x); array(x); array_split(x); average(x weights); bincount(x);
        bitwise_and(x y); bitwise_invert(x); bitwise_left_shift(x y); bitwise_not(x); bitwise_or(x y);
        bitwise_right_shift(x y); bitwise_xor(x y); broadcast_to(x); cbrt(x); ceil(x); clip(x); concatenate(xs);
        conjugate(x); copy(x); corrcoef(x); correlate(x1 x2); cos(x); cosh(x); count_nonzero(x); cross(x1 x2);
        cumprod(x); cumsum(x); deg2rad(x); diag(x); diagflat(x); diagonal(x); diff(a); digitize(x bins);
        divide(x1 x2); divide_no_nan(x1 x2); dot(x1 x2); dsplit(x); dstack(xs); empty_like(x); equal(x1 x2); exp(x);
        exp2(x); expand_dims(x); expm1(x); fabs(x); flip(x); fliplr(x); flipud(x); floor(x); floor_divide(x1 x2);
        fmax(x1 x2); fmin(x1 x2); fmod(x1 x2); full(fill_value); full_like(x fill_value); gcd(x1 x2); get_item(x key);
        getitem:GetItem(x key); greater(x1 x2); greater_equal(x1 x2); heaviside(x1 x2); histogram(x); hsplit(x);
        hstack(xs); hypot(x1 x2); i0(x); imag(x); inner(x1 x2); isclose(x1 x2 rtol atol); isfinite(x);
        isin:IsIn(x1 x2); isinf(x); isnan(x); isneginf(x); isposinf(x); isreal(x); kron(x1 x2); lcm(x1 x2);
        ldexp(x1 x2); left_shift(x y); less(x1 x2); less_equal(x1 x2); log(x); log10(x); log1p(x); log2(x);
        logaddexp(x1 x2); logaddexp2(x1 x2); logical_and(x1 x2); logical_not(x); logical_or(x1 x2);
        logical_xor(x1 x2); matmul(x1 x2); max(x); maximum(x1 x2); mean(x); median(x); min(x); minimum(x1 x2);
        mod(x1 x2); moveaxis(x); multiply(x1 x2); nan_to_num(x); nanargmax(x); nanargmin(x); nancumprod(x);
        nancumsum(x); nanmax(x); nanmean(x); nanmedian(x); nanmin(x); nanpercentile(x q); nanprod(x);
        nanquantile(x q); nanstd(x); nansum(x); nanvar(x); ndim(x); negative(x); nextafter(x1 x2); nonzero(x);
        not_equal(x1 x2); ones_like(x); outer(x1 x2); pad(x constant_values); percentile(x q); power(x1 x2); prod(x);
        ptp(x); quantile(x q); rad2deg(x); ravel(x); real(x); reciprocal(x); repeat(x); reshape(x); right_shift(x y);
        roll(x); rot90(array); round(x); searchsorted:SearchSorted(sorted_sequence values);
        select(condlist choicelist default); sign(x); signbit(x); sin(x); sinc(x); sinh(x); size(x); slogdet(x);
        sort(x); split(x); sqrt(x); square(x); squeeze(x); stack(x); std(x); subtract(x1 x2); sum(x); swapaxes(x);
        take(x indices); take_along_axis(x indices); tan(x); tanh(x); tensordot(x1 x2); tile(x); trace(x);
        transpose(x); trapezoid(y); tril(x); triu(x); true_divide(x1 x2); trunc(x); unique(x); unravel_index(indices);
        vander(x); var(x); vdot(x1 x2); view(x); vsplit(x); vstack(xs); where(condition x1 x2); zeros_like(x);
    """,
    "nn": """
        adaptive_average_pool(inputs); adaptive_max_pool(inputs); average_pool(inputs);
        batch_normalization:BatchNorm(x mean variance offset scale); binary_crossentropy(target output);
        categorical_crossentropy(target output); celu(x); conv(inputs kernel); conv_transpose(inputs kernel);
        ctc_decode:CTCDecode(inputs sequence_lengths); ctc_loss:CTCLoss(target output target_length output_length);
        depth_to_space(x); depthwise_conv(inputs kernel); dot_product_attention(query key value bias mask scale);
        elu(x); fold(x); gelu(x); glu(x); hard_shrink(x); hard_sigmoid(x); hard_silu(x); hard_swish:HardSilu(x);
        hard_tanh(x); layer_normalization:LayerNorm(x gamma beta); leaky_relu(x); log_sigmoid(x); log_softmax(x);
        max_pool(inputs); moments(x); multi_hot(inputs); normalize(x); one_hot(x); polar(abs_ angle);
        psnr:PSNR(x1 x2); relu(x); relu6(x); rms_normalization:RMSNorm(x scale); selu(x);
        separable_conv(inputs depthwise_kernel pointwise_kernel); sigmoid(x); silu(x); soft_shrink(x); softmax(x);
        softplus(x); softsign(x); space_to_depth(x); sparse_categorical_crossentropy(target output); sparse_plus(x);
        sparse_sigmoid(x); sparsemax(x); squareplus(x); swish:Silu(x); tanh_shrink(x); threshold(x); unfold(x);
    """,
    "math": """
        cdist:CDist(x y); erf(x); erfc(x); erfinv(x); extract_sequences(x); fft:FFT(x); fft2:FFT2(x); ifft2:IFFT2(x);
        in_top_k(targets predictions); irfft:IRFFT(x); istft:ISTFT(x); logdet(x); logsumexp(x); rfft:RFFT(x);
        rsqrt(x); segment_max(data segment_ids); segment_min(data segment_ids); segment_prod(data segment_ids);
        segment_sum(data segment_ids); stft:STFT(x); top_k(x); view_as_complex(x); view_as_real(x);
    """,
    "linalg": """
        cholesky(x); cholesky_inverse(x); det(x); eig(x); eigh(x); inv(x); lstsq(a b); lu_factor(x); matrix_rank(x);
        norm(x); pinv(x); qr(x); solve(a b); solve_triangular(a b); svd:SVD(x);
    """,
    "core": """
        cast(x); fori_loop(init_val); scatter(indices values); scatter_update(inputs indices updates);
        slice(inputs start_indices); slice_update(inputs start_indices updates); stop_gradient(variable); unstack(x);
        while_loop(loop_vars);
    """,
    "image": """
        affine_transform(images transform); crop_images(images); elastic_transform(images); extract_patches(images);
        gaussian_blur(images); hsv_to_rgb:HSVToRGB(images); map_coordinates(inputs coordinates); pad_images(images);
        perspective_transform(images start_points end_points); resize(images);
        rgb_to_grayscale:RGBToGrayscale(images); rgb_to_hsv:RGBToHSV(images);
        scale_and_translate(images output_shape scale translation); sobel_edges(images); ssim:SSIM(image1 image2);
    """,
    "einops": """
        rearrange(tensor pattern axes_lengths);
    """,
}


class KerasOp(NamedTuple):
    """An op as Keras's files know it."""

    module: str
    class_name: str
    inputs: tuple[str, ...]


@functools.cache
def keras_ops() -> Mapping[str, KerasOp]:
    """Every op that a file can name, by the function's name.

    Example:
        >>> keras_ops()["mean"]
        KerasOp(module='keras.src.ops.numpy', class_name='Mean', inputs=('x',))
    """
    table: dict[str, KerasOp] = {}
    for module, text in _TABLE.items():
        for name, class_name, inputs in re.findall(r"(\w+)(?::(\w+))?\(([\w ]*)\);", text):
            camel = "".join(part.capitalize() for part in name.split("_"))
            table[name] = KerasOp(f"keras.src.ops.{module}", class_name or camel, tuple(inputs.split()))
    return table


@functools.cache
def op_names() -> Mapping[str, str]:
    """The function's name for each class name in a file.

    Example:
        >>> op_names()["BatchNorm"]
        'batch_normalization'
    """
    return {op.class_name: name for name, op in reversed(list(keras_ops().items()))}


def split_arguments(
    name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[KerasOp, dict[str, Any], list[Any]] | None:
    """How Keras writes a call of an op: the op, its settings, and the arguments of the call.

    Args:
        name: the op's name.
        function: the op, whose parameters are named as in Keras.
        args: the arguments by position.
        kwargs: the arguments by name.

    Returns:
        None where Keras has no such op, or cannot take these arguments.

    Example:
        >>> split_arguments("mean", lambda x, axis=None, keepdims=False: x, ["x"], {"axis": 1})[1:]
        ({'axis': 1}, ['x'])
    """
    op = keras_ops().get(name)
    if op is None:
        return None
    try:
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except TypeError:
        return None
    if op.inputs and op.inputs[0] not in given:
        return None
    inputs = []
    for parameter in op.inputs:
        if parameter not in given:
            break
        inputs.append(given.pop(parameter))
    # A later input given without the one before it has no place in the node's list of arguments.
    if any(parameter in given for parameter in op.inputs):
        return None
    return op, given, inputs
