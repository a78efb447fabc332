"""House prices in Boston suburbs in the 1970s. Kept for old scripts; its variable "B" encodes race."""

from __future__ import annotations

from lamina.datasets.sources import KERAS_STORE, Split, find_file
from lamina.datasets.tables import check_test_split, load_table

_SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """Boston housing. Prefer `california_housing`: one of the 13 variables here rests on a racist assumption.

    Args:
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.
        test_split: the share of samples for testing, 0 to 1.
        seed: of the shuffling before the split.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float64 (samples, 13), and prices in thousands of dollars
        (samples,).

    Raises:
        ArgumentError: test_split is out of range.
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), _ = load_data()  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (404, 13)

    Credit: D. Harrison, D. L. Rubinfeld, Hedonic prices and the demand for clean air, 1978.
    Source: https://keras.io/api/datasets/boston_housing/
    """
    check_test_split(test_split)
    return load_table(find_file(path, KERAS_STORE + "boston_housing.npz", _SHA256), test_split, seed)
