"""Decompositions of matrices, linear systems, norms.

Matrices stand on the last two axes; axes before these are batches. Source: https://keras.io/api/ops/linalg/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from lamina.core.errors import ArgumentError, ShapeError, one_of
from lamina.core.scopes import unknown_stand_in
from lamina.graph.op import op
from lamina.ops.operands import Axes, TensorLike, as_float, as_floats, as_tensor, axes_of


def _matrix(x: TensorLike, where: str, square: bool = False, known: bool = False) -> Tensor:
    """The argument as floats, checked to be matrices."""
    x = as_float(x)
    if square and unknown_stand_in() in x.shape[-2:]:
        # The one size that may be known is then that of both axes.
        rows, columns = x.shape[-2:]
        size = columns if rows == unknown_stand_in() else rows
        x = x.new_empty((*x.shape[:-2], size, size))
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ShapeError(
            "Square matrices are needed." if square else "Matrices are needed.",
            where=f"ops.{where}",
            expected="shape (..., n, n)" if square else "shape (..., n, m)",
            received=f"shape {tuple(x.shape)}",
        )
    if known and unknown_stand_in() in x.shape[-2:]:
        raise ShapeError(
            "The sizes of the matrices must be known.",
            where=f"ops.{where}",
            fix="give the Input fixed sizes along the last two axes",
        )
    return x


@op(wide=True)
def cholesky(x: TensorLike, upper: bool = False) -> Tensor:
    """The triangular factor of positive definite matrices.

    Args:
        x: symmetric matrices, shape (..., n, n).
        upper: whether to give the upper factor instead of the lower one.

    Raises:
        ArgumentError: a matrix is not positive definite.

    Example:
        >>> cholesky([[4.0, 0.0], [0.0, 9.0]])
        tensor([[2., 0.],
                [0., 3.]])
    """
    x = _matrix(x, "cholesky", square=True)
    try:
        return torch.linalg.cholesky(x, upper=upper)
    except LinAlgError as error:
        raise ArgumentError(
            "The matrix is not positive definite.",
            where="ops.cholesky",
            expected="a symmetric matrix with positive eigenvalues",
            received=str(error),
            fix="add a little to its diagonal: x + 1e-6 * ops.eye(n)",
        ) from error


@op(wide=True)
def cholesky_inverse(x: TensorLike, upper: bool = False) -> Tensor:
    """The inverse of matrices, from their Cholesky factors.

    Args:
        x: triangular factors, shape (..., n, n).
        upper: whether these are upper factors.

    Example:
        >>> cholesky_inverse([[2.0]])
        tensor([[0.2500]])
    """
    return torch.cholesky_inverse(_matrix(x, "cholesky_inverse", square=True), upper=upper)


@op(wide=True)
def det(x: TensorLike) -> Tensor:
    """The determinant of square matrices.

    Example:
        >>> det([[1.0, 2.0], [3.0, 4.0]])
        tensor(-2.)
    """
    return torch.linalg.det(_matrix(x, "det", square=True))


@op(wide=True)
def logdet(x: TensorLike) -> Tensor:
    """The logarithm of the determinant of square matrices; NaN where that is negative."""
    return torch.logdet(_matrix(x, "logdet", square=True))


@op(wide=True)
def slogdet(x: TensorLike) -> tuple[Tensor, Tensor]:
    """The sign of the determinant of square matrices, and the logarithm of its magnitude.

    Example:
        >>> slogdet([[1.0, 0.0], [0.0, -1.0]])
        (tensor(-1.), tensor(0.))
    """
    sign, log = torch.linalg.slogdet(_matrix(x, "slogdet", square=True))
    return sign, log


@op(wide=True)
def eig(x: TensorLike) -> tuple[Tensor, Tensor]:
    """The eigenvalues and eigenvectors of square matrices, complex numbers both."""
    values, vectors = torch.linalg.eig(_matrix(x, "eig", square=True))
    return values, vectors


@op(wide=True)
def eigh(x: TensorLike) -> tuple[Tensor, Tensor]:
    """The eigenvalues, in ascending order, and eigenvectors of symmetric matrices.

    Example:
        >>> eigh([[2.0, 0.0], [0.0, 1.0]])[0]
        tensor([1., 2.])
    """
    values, vectors = torch.linalg.eigh(_matrix(x, "eigh", square=True))
    return values, vectors


@op(wide=True)
def inv(x: TensorLike) -> Tensor:
    """The inverse of square matrices.

    Raises:
        ArgumentError: a matrix is singular.

    Example:
        >>> inv([[2.0, 0.0], [0.0, 4.0]])
        tensor([[0.5000, 0.0000],
                [0.0000, 0.2500]])
    """
    x = _matrix(x, "inv", square=True)
    try:
        return torch.linalg.inv(x)
    except LinAlgError as error:
        raise ArgumentError(
            "The matrix is singular.",
            where="ops.inv",
            received=str(error),
            fix="ops.pinv(x) gives the nearest there is",
        ) from error


@op(wide=True)
def pinv(x: TensorLike, rcond: float | None = None) -> Tensor:
    """The pseudo-inverse of matrices.

    Args:
        x: matrices, shape (..., n, m).
        rcond: singular values below this share of the greatest one count as 0.
    """
    return torch.linalg.pinv(_matrix(x, "pinv"), rtol=rcond)


@op(wide=True)
def lu_factor(x: TensorLike) -> tuple[Tensor, Tensor]:
    """Both triangular factors of matrices, in one tensor, and the rows exchanged on the way (from 0)."""
    factors, pivots = torch.linalg.lu_factor(_matrix(x, "lu_factor", known=True))
    return factors, pivots - 1


@op(wide=True)
def qr(x: TensorLike, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """The orthogonal and the upper triangular factor of matrices.

    Args:
        x: matrices, shape (..., n, m).
        mode: "reduced", or "complete" for a square orthogonal factor.

    Raises:
        ArgumentError: the mode is not known.

    Example:
        >>> [factor.shape for factor in qr(torch.ones(3, 2))]
        [torch.Size([3, 2]), torch.Size([2, 2])]
    """
    one_of(mode, ("reduced", "complete"), "ops.qr, mode")
    q, r = torch.linalg.qr(_matrix(x, "qr", known=True), mode)
    return q, r


@op(wide=True)
def svd(x: TensorLike, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition of matrices.

    Args:
        x: matrices, shape (..., n, m).
        full_matrices: whether both orthogonal factors are square.
        compute_uv: whether to give them, not only the singular values.

    Returns:
        (u, s, vh) with x = u @ diag(s) @ vh, or s alone.

    Example:
        >>> svd([[3.0, 0.0], [0.0, 2.0]], compute_uv=False)
        tensor([3., 2.])
    """
    x = _matrix(x, "svd", known=True)
    return tuple(torch.linalg.svd(x, full_matrices)) if compute_uv else torch.linalg.svdvals(x)


@op(wide=True)
def solve(a: TensorLike, b: TensorLike) -> Tensor:
    """The solution x of the linear systems a x = b.

    Args:
        a: square matrices, shape (..., n, n).
        b: shape (..., n) or (..., n, k).

    Raises:
        ArgumentError: a matrix is singular.

    Example:
        >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 8.0])
        tensor([1., 2.])
    """
    a, b = _system(a, b, "solve")
    try:
        return torch.linalg.solve(a, b[..., None])[..., 0] if b.ndim == a.ndim - 1 else torch.linalg.solve(a, b)
    except LinAlgError as error:
        raise ArgumentError(
            "The matrix is singular.",
            where="ops.solve",
            received=str(error),
            fix="ops.lstsq(a, b) gives the nearest there is",
        ) from error


@op(wide=True)
def solve_triangular(a: TensorLike, b: TensorLike, lower: bool = False) -> Tensor:
    """The solution x of the linear systems a x = b with triangular matrices.

    Args:
        a: triangular matrices, shape (..., n, n).
        b: shape (..., n) or (..., n, k).
        lower: whether the matrices are lower triangular.

    Example:
        >>> solve_triangular([[2.0, 0.0], [0.0, 4.0]], [2.0, 8.0])
        tensor([1., 2.])
    """
    a, b = _system(a, b, "solve_triangular")
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve_triangular(a, b[..., None], upper=not lower)[..., 0]
    return torch.linalg.solve_triangular(a, b, upper=not lower)


def _system(a: TensorLike, b: TensorLike, where: str) -> tuple[Tensor, Tensor]:
    """Both sides of a linear system as floats, checked to fit."""
    a, b = as_floats(a, b)
    a = _matrix(a, where, square=True)
    rows = b.shape[-1] if b.ndim == a.ndim - 1 else b.shape[-2] if b.ndim == a.ndim else None
    if rows is not None and a.shape[-1] == unknown_stand_in():
        a = a.new_empty((*a.shape[:-2], rows, rows))
    if rows != a.shape[-1]:
        raise ShapeError(
            "The right side does not fit the matrix.",
            where=f"ops.{where}",
            expected=f"b of shape (..., {a.shape[-1]}) or (..., {a.shape[-1]}, k)",
            received=f"a of shape {tuple(a.shape)}, b of shape {tuple(b.shape)}",
        )
    return a, b


@op(wide=True)
def lstsq(a: TensorLike, b: TensorLike, rcond: float | None = None) -> Tensor:
    """The x for which a x is closest to b.

    Args:
        a: a matrix, shape (n, m).
        b: shape (n,) or (n, k).
        rcond: singular values below this share of the greatest one count as 0.

    Example:
        >>> lstsq([[1.0], [1.0]], [1.0, 3.0]).round(decimals=3)
        tensor([2.])
    """
    a, b = as_floats(a, b)
    a = _matrix(a, "lstsq")
    if b.ndim not in (1, 2) or a.ndim != 2 or b.shape[0] != a.shape[0]:
        raise ShapeError(
            "The right side does not fit the matrix.",
            where="ops.lstsq",
            expected="a of shape (n, m), b of shape (n,) or (n, k)",
            received=f"a of shape {tuple(a.shape)}, b of shape {tuple(b.shape)}",
        )
    right = b[:, None] if b.ndim == 1 else b
    if a.device.type == "cuda" or rcond is None:
        # The pseudo-inverse handles deficient rank alike on all devices, and has a gradient.
        solution = torch.linalg.pinv(a, rtol=rcond) @ right
    else:
        solution = torch.linalg.lstsq(a, right, rcond=rcond, driver="gelsd").solution
    return solution[:, 0] if b.ndim == 1 else solution


@op
def matrix_rank(x: TensorLike, tol: float | None = None) -> Tensor:
    """The rank of matrices, as int32.

    Args:
        x: matrices, shape (..., n, m).
        tol: singular values up to this count as 0.

    Example:
        >>> matrix_rank([[1.0, 1.0], [1.0, 1.0]])
        tensor(1, dtype=torch.int32)
    """
    return torch.linalg.matrix_rank(_matrix(x, "matrix_rank"), atol=tol).to(torch.int32)


@op(wide=True)
def norm(x: TensorLike, ord: int | float | str | None = None, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors or matrices.

    Args:
        x: the values.
        ord: for vectors any number, 2 by default; for matrices "fro" (the default), "nuc", 1, 2, `inf` or
            the negatives of these.
        axis: one axis for vectors, two for matrices; None for the whole tensor.
        keepdims: whether the reduced axes stay, with size 1.

    Raises:
        ArgumentError: there is no such norm over so many axes.

    Example:
        >>> norm([3.0, 4.0])
        tensor(5.)
    """
    x = as_float(x)
    axes = axes_of(axis)
    ranks = x.ndim if axes is None else (1 if isinstance(axes, int) else len(axes))
    if (ord is not None and ranks not in (1, 2)) or (isinstance(ord, str) and ranks != 2):
        raise ArgumentError(
            "There is no such norm over so many axes.",
            where="ops.norm",
            expected="one axis or two; words for two only",
            received=f"ord={ord!r} over {ranks} axes",
        )
    return torch.linalg.norm(x, ord, axes, keepdims)


@op(casts=True)
def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The value of a function and its derivative in a direction.

    Args:
        fun: the function.
        primals: its arguments.
        tangents: the direction: one tensor for each argument.
        has_aux: whether the function gives (value, something else).

    Returns:
        (value, derivative), and the something else third.

    Example:
        >>> jvp(torch.square, (torch.tensor(3.0),), (torch.tensor(1.0),))
        (tensor(9.), tensor(6.))
    """
    points = tuple(as_float(x) for x in primals)
    directions = tuple(as_tensor(x).to(point.dtype) for x, point in zip(tangents, points, strict=True))
    return torch.func.jvp(fun, points, directions, has_aux=has_aux)
