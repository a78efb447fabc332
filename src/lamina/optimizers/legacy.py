"""The names that `keras.optimizers.legacy` still has. They only say where the optimizers are today."""

from __future__ import annotations

from typing import Any

from lamina.core.errors import MissingPackageError


class LegacyOptimizer:
    """Stands in the place of an optimizer of Keras 2.

    Args:
        *args: whatever the old optimizer took.
        **kwargs: likewise.

    Raises:
        MissingPackageError: always; it is an ImportError.

    Example:
        >>> try:
        ...     Adam(0.01)
        ... except ImportError as error:
        ...     print(str(error).splitlines()[0])
        The optimizers of Keras 2 are no part of Keras 3.

    Source: https://keras.io/api/optimizers/
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise MissingPackageError(
            "The optimizers of Keras 2 are no part of Keras 3.",
            where="lamina.optimizers.legacy",
            fix="use that of the same name in lamina.optimizers; `lamina run script.py` does so for a whole script",
        )


Adagrad = Adam = Ftrl = Optimizer = RMSprop = SGD = LegacyOptimizer
