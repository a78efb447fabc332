"""Connectionist temporal classification: label sequences from outputs that are not aligned with them.

Each step of the output names a label or the blank. What is read off is the sequence without repetitions and blanks; its
probability is that of all the ways of writing it.

Source: Graves et al., 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf; https://keras.io/api/ops/nn/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.core.errors import ArgumentError, ShapeError, nearest
from lamina.core.tensors import convert_to_tensor
from lamina.graph.op import op
from lamina.graph.tensor import KerasTensor
from lamina.ops.operands import TensorLike, as_float

_STRATEGIES = ("greedy", "beam_search")


def _check(where: str, outputs: Any, **others: tuple[Any, int]) -> None:
    """Refuse other ranks, and batches of another size."""
    batch = outputs.shape[0] if len(outputs.shape) == 3 else None
    for name, (x, rank) in {"the outputs": (outputs, 3), **others}.items():
        first = x.shape[0] if len(x.shape) == rank else -1
        if first == -1 or (first != batch and first is not None and batch is not None):
            raise ShapeError(
                "The shapes do not fit together.",
                where=f"{where}, {name}",
                expected=f"{rank} axes, the first of them the batch{f' of {batch}' if batch else ''}",
                received=tuple(x.shape),
            )


def _loss_spec(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> KerasTensor:
    """The symbolic result of `ctc_loss`."""
    _check("ctc_loss", output, target=(target, 2), target_length=(target_length, 1), output_length=(output_length, 1))
    return KerasTensor((output.shape[0],), "float32")


@op(symbolic=_loss_spec)
def ctc_loss(
    target: TensorLike,
    output: TensorLike,
    target_length: TensorLike,
    output_length: TensorLike,
    mask_index: int = 0,
) -> Tensor:
    """Minus the log-likelihood of label sequences, of float32.

    Args:
        target: label sequences of shape (batch, max_length), integers.
        output: logits of shape (batch, steps, classes).
        target_length: how many labels of each sequence count, of shape (batch,).
        output_length: how many steps of each output count, likewise; a sequence that cannot be written in so many
            steps has an infinite loss.
        mask_index: the class that is the blank.

    Raises:
        ShapeError: the shapes do not fit together.
        ArgumentError: there is no such class.

    Example:
        >>> ctc_loss([[1]], torch.zeros(1, 1, 2), [1], [1])
        tensor([0.6931])
    """
    output = as_float(output)
    target, target_length, output_length = (
        convert_to_tensor(x, torch.int64, output.device) for x in (target, target_length, output_length)
    )
    _check("ctc_loss", output, target=(target, 2), target_length=(target_length, 1), output_length=(output_length, 1))
    scores = output.to(torch.promote_types(output.dtype, torch.float32)).log_softmax(-1).transpose(0, 1)
    blank = _blank(mask_index, output.shape[-1])
    return F.ctc_loss(scores, target, output_length, target_length, blank, reduction="none").float()


def _decode_spec(
    inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100, top_paths: int = 1, **_: Any
) -> tuple[KerasTensor, KerasTensor]:
    """The symbolic result of `ctc_decode`."""
    _check_strategy(strategy)
    _check("ctc_decode", inputs, sequence_lengths=(sequence_lengths, 1))
    batch, steps, _classes = inputs.shape
    paths = 1 if strategy == "greedy" else top_paths
    return KerasTensor((paths, batch, steps), "int32"), KerasTensor((batch, paths), "float32")


@op(symbolic=_decode_spec)
def ctc_decode(
    inputs: TensorLike,
    sequence_lengths: TensorLike,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int | None = 0,
) -> tuple[Tensor, Tensor]:
    """The most probable label sequences.

    Args:
        inputs: logits of shape (batch, steps, classes).
        sequence_lengths: how many steps of each count, of shape (batch,).
        strategy: "greedy" takes the best class of each step; "beam_search" adds up all the ways of writing each of the
            `beam_width` best beginnings.
        beam_width: how many beginnings are followed.
        top_paths: how many sequences the beam search gives; the greedy strategy gives one.
        merge_repeated: whether the greedy strategy takes a class in neighbouring steps for one label.
        mask_index: the class that is the blank; the last one for None.

    Returns:
        The labels, int32 of shape (paths, batch, steps), filled up with -1; and float32 scores of shape (batch, paths):
        log-probabilities for the beam search, minus the sum of the logits taken for the greedy strategy.

    Raises:
        ArgumentError: there is no such strategy or class.
        ShapeError: the shapes do not fit together.

    Example:
        >>> ctc_decode([[[0.0, 4.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]]], [4])
        (tensor([[[ 1,  1, -1, -1]]], dtype=torch.int32), tensor([[-16.]]))

    Source: Hannun et al., 2014, https://arxiv.org/abs/1408.2873
    """
    _check_strategy(strategy)
    inputs = as_float(inputs).float()
    lengths = convert_to_tensor(sequence_lengths, torch.int64, inputs.device)
    _check("ctc_decode", inputs, sequence_lengths=(lengths, 1))
    blank = _blank(mask_index, inputs.shape[-1])
    if strategy == "greedy":
        return _greedy(inputs, lengths, merge_repeated, blank)
    return _beam_search(inputs, lengths, beam_width, top_paths, blank)


def _check_strategy(strategy: str) -> None:
    if strategy not in _STRATEGIES:
        raise ArgumentError(
            f"Invalid strategy.{nearest(str(strategy), _STRATEGIES)}",
            where="ops.ctc_decode, strategy",
            expected=" or ".join(_STRATEGIES),
            received=repr(strategy),
        )


def _blank(mask_index: int | None, classes: int) -> int:
    """The class of the blank, checked."""
    blank = classes - 1 if mask_index is None else mask_index
    if not 0 <= blank < classes:
        raise ArgumentError("No such class.", where="mask_index", expected=f"0 ... {classes - 1}", received=mask_index)
    return blank


def _greedy(inputs: Tensor, lengths: Tensor, merge_repeated: bool, blank: int) -> tuple[Tensor, Tensor]:
    best, labels = inputs.max(-1)
    counts = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
    kept = counts & (labels != blank)
    if merge_repeated:
        kept[:, 1:] &= labels[:, 1:] != labels[:, :-1]
    scores = -torch.where(counts, best, 0.0).sum(-1, keepdim=True)
    return _to_the_left(torch.where(kept, labels, -1)[None]), scores


def _to_the_left(labels: Tensor) -> Tensor:
    """Labels in order along the last axis, then what is -1."""
    order = (labels < 0).to(torch.uint8).argsort(dim=-1, stable=True)
    return labels.gather(-1, order).int()


def _beam_search(inputs: Tensor, lengths: Tensor, beam_width: int, top_paths: int, blank: int) -> tuple[Tensor, Tensor]:
    """Prefix beam search, all samples at once.

    A beam is a beginning, with the log-probabilities of the ways of writing it that end in a blank, and in its last
    label. Its key names it: equal keys are equal beginnings. What was done in each step is noted, and the labels
    are collected from that at the end.
    """
    (batch, steps, classes), device, never = inputs.shape, inputs.device, -torch.inf
    shape = batch, beam_width
    scores = inputs.log_softmax(-1)
    order = torch.arange(classes, device=device)
    slots = torch.arange(beam_width, device=device).expand(shape)
    in_blank = torch.where(slots == 0, 0.0, never)
    in_label = torch.full(shape, never, device=device)
    # Sequences of no labels have no last one; any will do, since none of their ways ends in it.
    last = torch.zeros(shape, dtype=torch.int64, device=device)
    key, parent = torch.zeros_like(last), torch.full_like(last, -1)
    sources, labels = [], []
    for step in range(steps):
        now, total = scores[:, step], torch.logaddexp(in_blank, in_label)
        of_last = now.gather(1, last)
        # What a beam hands on to its extension by each label: a label again needs a blank between.
        handed = torch.where(order == last[..., None], in_blank[..., None], total[..., None])
        alive = total > never
        child = (key[:, :, None] == parent[:, None, :]) & alive[:, :, None] & alive[:, None, :]
        # Where a beam and its extension are both followed, the extension is not made a second time.
        ends = last[:, None, :].expand(-1, beam_width, -1)
        credit = torch.where(child, handed.gather(2, ends), never).amax(1)
        made = torch.zeros_like(handed).scatter_reduce(2, ends, child.to(handed.dtype), "amax")
        extended = torch.where((made > 0) | (order == blank), never, handed + now[:, None, :])
        stays_in_blank = total + now[:, blank, None]
        stays_in_label = torch.logaddexp(in_label, credit) + of_last
        stays = torch.logaddexp(stays_in_blank, stays_in_label)
        best, chosen = torch.cat([stays, extended.flatten(1)], 1).topk(beam_width)
        is_new, taken = chosen >= beam_width, (chosen - beam_width).clamp_min(0)
        source = torch.where(is_new, taken // classes, chosen)
        label, old_key = torch.where(is_new, taken % classes, last.gather(1, source)), key.gather(1, source)
        after = (
            torch.where(is_new, never, stays_in_blank.gather(1, source)),
            torch.where(is_new, best, stays_in_label.gather(1, source)),
            label,
            torch.where(is_new, _longer(old_key, label), old_key),
            torch.where(is_new, old_key, parent.gather(1, source)),
        )
        counts = (step < lengths)[:, None]
        in_blank, in_label, last, key, parent = (
            torch.where(counts, new, old)
            for new, old in zip(after, (in_blank, in_label, last, key, parent), strict=True)
        )
        sources.append(torch.where(counts, source, slots))
        labels.append(torch.where(counts & is_new, label, -1))
    return _collect(torch.logaddexp(in_blank, in_label), sources, labels, top_paths)


def _longer(key: Tensor, label: Tensor) -> Tensor:
    """The key of a sequence made longer by a label: 64 bits, mixed so that no two sequences will share them."""
    key = (key + label + 1) * 6364136223846793005 + 1442695040888963407
    return key ^ (key >> 29)


def _collect(scores: Tensor, sources: list[Tensor], labels: list[Tensor], top_paths: int) -> tuple[Tensor, Tensor]:
    """The best beams' labels, followed back through the steps, and their scores."""
    count = min(top_paths, scores.shape[1])
    scores, beam = scores.topk(count)
    written = []
    for source, label in zip(reversed(sources), reversed(labels), strict=True):
        written.append(label.gather(1, beam))
        beam = source.gather(1, beam)
    paths = torch.stack(written[::-1], -1) if written else beam.new_empty((*beam.shape, 0))
    paths = torch.where(scores[..., None] > -torch.inf, paths, -1)
    missing = top_paths - count
    paths, scores = F.pad(paths, (0, 0, 0, missing), value=-1), F.pad(scores, (0, missing), value=-torch.inf)
    return _to_the_left(paths.transpose(0, 1)), scores
