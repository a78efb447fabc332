"""A whole sequence through a recurrent cell as one operation of torch.

On a GPU that is torch's own, and so cuDNN's. On a CPU it is `lamina::recurrence`, one node of a traced graph, forward
and backward, however long the sequence. For LSTM oneDNN does the work; a loop like those below was measured to take as
long. For the other cells it has no kernel that learns, so they loop here, and leave to the loop only what must wait for
the step before: the inputs are projected for all steps at once; in the backward pass the slopes of the gates are
computed for several steps at once, and the gradients of the weights for all.

Sequences are time-major, (steps, batch, features). Kernels are Keras's, (features, gates * units), with the gates
i, f, c, o of LSTM, and z, r, h of GRU, whose bias has a row for the inputs and one for the state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KINDS = ("lstm", "gru", "tanh", "relu")
"""What can be run here: LSTM, GRU, and simple recurrence with two activations."""

Tensors = tuple[Tensor, ...]
_HAS_ONEDNN = torch.backends.mkldnn.is_available()
_LSTM = 2  # torch's number for it
_BLOCK = 8  # steps whose slopes are computed together, so that they fit into the cache
_SMALL = 4096  # numbers in a state (measured) below which a loop in Python costs more than it saves, without a gradient
_MINUS_ONE = torch.tensor(-1.0)


def available(kind: str, x: Tensor) -> bool:
    """Whether sequences like this one can be run here."""
    if x.numel() == 0:
        return False
    return kind != "lstm" or x.device.type != "cpu" or (_HAS_ONEDNN and x.dtype is not torch.float64)


def run(
    kind: str, x: Tensor, h: Tensor, c: Tensor | None, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Run a sequence through a cell.

    Args:
        kind: one of `KINDS`.
        x: the sequence, (steps, batch, features).
        h: the state to begin with, (batch, units).
        c: the carry to begin with, of an LSTM only.
        kernel: (features, gates * units).
        recurrent_kernel: (units, gates * units).
        bias: (gates * units,), or for GRU (2, gates * units).

    Returns:
        The outputs of all steps, (steps, batch, units), and the last states.
    """
    tensors: list[Any] = [x, h, c, kernel, recurrent_kernel, bias]
    # A CPU is faster, and more exact, in float32.
    dtype = torch.float32 if x.device.type == "cpu" and x.dtype is not torch.float64 else x.dtype
    tensors = [t if t is None or t.dtype is dtype else t.to(dtype) for t in tensors]
    if x.device.type != "cpu" or (kind == "lstm" and type(x) is Tensor and not torch.compiler.is_compiling()):
        # Outside of graphs oneDNN too is reached faster this way.
        results = _by_torch(kind, *tensors)
    else:
        keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        results = _recurrence(kind, *tensors, keep)[: 2 if c is None else 3]
    y, *states = results if dtype is x.dtype else [result.to(x.dtype) for result in results]
    return y, states


def _by_torch(kind: str, x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor) -> Tensors:
    """By torch's own functions: outputs and last states."""
    weights = _torch_weights(w, r, b)
    if kind == "gru":
        # The first two gates stand in the other order: z, r, h for Keras, r, z, h for torch.
        weights = [_swapped(weights[0]), _swapped(weights[1]), _swapped(b[0]), _swapped(b[1])]
    if x.is_cuda:
        # cuDNN wants all weights in one piece.
        piece = torch.cat([weight.reshape(-1) for weight in weights])
        parts = piece.split([weight.numel() for weight in weights])
        weights = [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
    options = (weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    if c is not None:
        y, last_h, last_c = torch._VF.lstm(x, [h[None], c[None]], *options)  # pyright: ignore
        return y, last_h[0], last_c[0]
    function = {"gru": torch._VF.gru, "tanh": torch._VF.rnn_tanh, "relu": torch._VF.rnn_relu}[kind]  # pyright: ignore
    y, last_h = function(x, h[None], *options)
    return y, last_h[0]


def _torch_weights(w: Tensor, r: Tensor, b: Tensor) -> list[Tensor]:
    """Weights as torch's kernels want them: (gates * units, inputs), and a second bias, for the state."""
    return [w.t().contiguous(), r.t().contiguous(), b, torch.zeros_like(b)]


def _swapped(weight: Tensor) -> Tensor:
    first, second, third = weight.chunk(3)
    return torch.cat((second, first, third))


# The operation and its gradient.


def _forward(kind: str, x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor, keep: bool) -> Tensors:
    nothing = x.new_empty(0)
    if c is None and not keep and h.numel() < _SMALL:
        return *_by_torch(kind, x, h, c, w, r, b), nothing, nothing
    if c is None:
        with torch.autocast("cpu", enabled=False):
            y, saved = _gru(x, h, w, r, b) if kind == "gru" else _simple(kind, x, h, w, r, b)
        return y, y[-1].clone(), nothing, saved if keep else nothing
    with torch.set_grad_enabled(keep):  # oneDNN saves its workspace only then
        y, last_h, last_c, saved = torch.ops.aten.mkldnn_rnn_layer(
            x.contiguous(), *_torch_weights(w, r, b), h[None], c[None], False, [],
            _LSTM, h.shape[-1], 1, True, False, False, keep,
        )  # fmt: skip
    return y, last_h[0], last_c[0], saved if keep else nothing


def _fake_forward(
    kind: str, x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor, keep: bool
) -> Tensors:
    y = x.new_empty((x.shape[0], x.shape[1], h.shape[-1]))
    # What is saved for the backward pass has a size that only the kernel knows; torch takes 0 for that.
    return y, x.new_empty(h.shape), x.new_empty(0 if c is None else c.shape), x.new_empty(0)


def _backward(
    kind: str, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None,
    x: Tensor, h: Tensor, c: Tensor | None, w: Tensor, r: Tensor, b: Tensor,
    y: Tensor, last_c: Tensor, saved: Tensor, inputs_learn: bool,
) -> Tensors:  # fmt: skip
    if c is None:
        dh = torch.zeros_like(h) if dh is None else dh.clone(memory_format=torch.contiguous_format)
        if kind == "gru":
            return _gru_backward(dy, dh, x, h, w, r, y, saved, inputs_learn)
        return _simple_backward(kind, dy, dh, x, h, w, r, y, inputs_learn)
    dh, dc = (None if gradient is None else gradient[None].contiguous() for gradient in (dh, dc))
    dx, dw, dr, db, _, dh0, dc0 = torch.ops.aten.mkldnn_rnn_layer_backward(
        x.contiguous(), *_torch_weights(w, r, b), h[None], c[None], y, y[-1:], last_c[None], dy, dh, dc,
        False, _LSTM, h.shape[-1], 1, True, True, False, [], False, saved,
    )  # fmt: skip
    return dx, dh0[0], dc0[0], dw.t(), dr.t(), db


def _fake_backward(kind: str, *tensors: Any) -> Tensors:
    x, h, c, w, r, b = tensors[3:9]
    dx, dh, dc, db = (x.new_empty(0 if t is None else t.shape) for t in (x, h, c, b))
    # Compiled code relies on strides: gradients of kernels lie in memory as torch's weights do.
    dw, dr = (x.new_empty(t.shape[::-1]).t() for t in (w, r))
    return dx, dh, dc, dw, dr, db


# GRU by steps. Four things are kept of each step: z, r, the state's part of the candidate, and the candidate.


def _gru(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Tensor) -> Tensors:
    steps, batch, units = x.shape[0], x.shape[1], h.shape[-1]
    kept = x.new_empty(steps, batch, 4 * units)
    flat, rows = kept.view(steps * batch, 4 * units), x.reshape(steps * batch, -1)
    torch.addmm(b[0, : 2 * units] + b[1, : 2 * units], rows, w[:, : 2 * units], out=flat[:, : 2 * units])
    flat[:, 2 * units : 3 * units] = b[1, 2 * units :]
    torch.addmm(b[0, 2 * units :], rows, w[:, 2 * units :], out=flat[:, 3 * units :])
    y = x.new_empty(steps, batch, units)
    # All views are made at once, outside the loop.
    of_state, z_and_reset = kept[..., : 3 * units].unbind(), kept[..., : 2 * units].unbind()
    z, reset, inner, candidate = (part.unbind() for part in kept.chunk(4, 2))
    outputs = y.unbind()
    for t in range(steps):
        of_state[t].addmm_(h, r)
        z_and_reset[t].sigmoid_()
        _tanh_(candidate[t].addcmul_(reset[t], inner[t]))
        h = torch.lerp(candidate[t], h, z[t], out=outputs[t])
    return y, kept


def _gru_backward(
    dy: Tensor | None, dh: Tensor, x: Tensor, h: Tensor, w: Tensor, r: Tensor, y: Tensor, kept: Tensor, inputs: bool
) -> Tensors:
    steps, batch, units = y.shape
    before = torch.cat((h[None], y[:-1]))
    slopes = torch.empty_like(kept)
    by_gate = slopes.view(steps, batch, 4, units).unbind()
    of_state, z = slopes[..., : 3 * units].unbind(), kept[..., :units].unbind()
    dys = None if dy is None else dy.unbind()
    transposed = r.t()
    for t in range(steps - 1, -1, -1):
        if t == steps - 1 or t % _BLOCK == _BLOCK - 1:
            block = slice(t - t % _BLOCK, t + 1)
            _gru_slopes(kept[block], before[block], slopes[block])
        if dys is not None:
            dh += dys[t]
        by_gate[t].mul_(dh.unsqueeze(1))
        dh.mul_(z[t]).addmm_(of_state[t], transposed)
    gates = slopes.view(steps * batch, 4 * units)
    of_gates, of_candidate = gates[:, : 2 * units], gates[:, 3 * units :]
    rows = x.reshape(steps * batch, -1)
    dw = torch.cat((torch.mm(of_gates.t(), rows), torch.mm(of_candidate.t(), rows))).t()
    dr = torch.mm(gates[:, : 3 * units].t(), before.view(-1, units)).t()
    sums = gates.sum(0)
    db = torch.stack((torch.cat((sums[: 2 * units], sums[3 * units :])), sums[: 3 * units]))
    dx = x.new_empty(x.shape)
    if inputs:
        flat = torch.mm(of_gates, w[:, : 2 * units].t(), out=dx.view(rows.shape))
        flat.addmm_(of_candidate, w[:, 2 * units :].t())
    return dx, dh, x.new_empty(0), dw, dr, db


def _gru_slopes(kept: Tensor, before: Tensor, slopes: Tensor) -> None:
    """How much each gate, before its activation, changes the output of its step."""
    z, reset, inner, candidate = kept.chunk(4, 2)
    of_z, of_reset, of_inner, of_candidate = slopes.chunk(4, 2)
    torch.ops.aten.tanh_backward.grad_input(1 - z, candidate, grad_input=of_candidate)
    torch.mul(of_candidate, reset, out=of_inner)
    torch.ops.aten.sigmoid_backward.grad_input(of_candidate * inner, reset, grad_input=of_reset)
    torch.ops.aten.sigmoid_backward.grad_input(before - candidate, z, grad_input=of_z)


# Simple recurrence by steps.


def _simple(kind: str, x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Tensor) -> Tensors:
    y = torch.addmm(b, x.reshape(-1, x.shape[2]), w).view(*x.shape[:2], -1)
    activate = _tanh_ if kind == "tanh" else torch.relu_
    for step in y.unbind():
        h = activate(step.addmm_(h, r))
    return y, y.new_empty(0)


def _simple_backward(
    kind: str, dy: Tensor | None, dh: Tensor, x: Tensor, h: Tensor, w: Tensor, r: Tensor, y: Tensor, inputs: bool
) -> Tensors:
    slopes = 1 - y * y if kind == "tanh" else (y > 0).to(y.dtype)
    by_step, dys = slopes.unbind(), None if dy is None else dy.unbind()
    transposed = r.t()
    for t in range(len(y) - 1, -1, -1):
        if dys is not None:
            dh += dys[t]
        torch.mm(by_step[t].mul_(dh), transposed, out=dh)
    gates = slopes.view(-1, y.shape[2])
    dw = torch.mm(gates.t(), x.reshape(-1, x.shape[2])).t()
    dr = torch.mm(gates.t(), torch.cat((h[None], y[:-1])).view(-1, y.shape[2])).t()
    dx = torch.mm(gates, w.t()).view(x.shape) if inputs else x.new_empty(x.shape)
    return dx, dh, x.new_empty(0), dw, dr, gates.sum(0)


def _tanh_(x: Tensor) -> Tensor:
    """The hyperbolic tangent in place, by way of the sigmoid, which torch computes five times as fast."""
    if x.dtype is not torch.float32:
        return x.tanh_()
    return torch.add(_MINUS_ONE, x.mul_(2).sigmoid_(), alpha=2, out=x)


# Registration.

_library = torch.library.Library("lamina", "FRAGMENT")
_WEIGHTS = "Tensor x, Tensor h, Tensor? c, Tensor kernel, Tensor recurrent_kernel, Tensor bias"


def _define(name: str, arguments: str, returns: int, implementation: Any, fake: Any) -> Any:
    _library.define(f"{name}({arguments}) -> ({', '.join(['Tensor'] * returns)})")
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"lamina::{name}", fake, lib=_library)
    return getattr(torch.ops.lamina, name).default


_recurrence = _define("recurrence", f"str kind, {_WEIGHTS}, bool keep", 4, _forward, _fake_forward)
_recurrence_backward = _define(
    "recurrence_backward",
    f"str kind, Tensor? dy, Tensor? dh, Tensor? dc, {_WEIGHTS}, "
    "Tensor y, Tensor last_c, Tensor saved, bool inputs_learn",
    6,
    _backward,
    _fake_backward,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
    ctx.kind, *tensors, _ = inputs
    y, _, last_c, saved = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, y, last_c, saved)


def _differentiate(ctx: Any, dy: Any, dh: Any, dc: Any, *_: Any) -> tuple[Any, ...]:
    c = ctx.saved_tensors[2]
    gradients = _recurrence_backward(
        ctx.kind, dy, dh, None if c is None else dc, *ctx.saved_tensors, ctx.needs_input_grad[1]
    )
    dx, dh, dc, dw, dr, db = gradients
    return None, dx if ctx.needs_input_grad[1] else None, dh, None if c is None else dc, dw, dr, db, None


torch.library.register_autograd("lamina::recurrence", _differentiate, setup_context=_setup, lib=_library)
