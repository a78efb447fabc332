"""House prices in Californian districts, from the census of 1990: a regression on eight numbers."""

from __future__ import annotations

from lamina.core.errors import one_of
from lamina.datasets.sources import KERAS_STORE, Split, find_file
from lamina.datasets.tables import check_test_split, load_table

_SHA256 = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
_ROWS = {"small": 600, "large": None}


def load_data(
    version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2, seed: int = 113
) -> Split:
    """California housing: income, house age, rooms, bedrooms, population, occupancy, latitude, longitude.

    Args:
        version: "large" for 20,640 districts, "small" for 600 of them.
        path: the file's name in the cache and in the folder named by LAMINA_DATASETS.
        test_split: the share of samples for testing, 0 to 1.
        seed: of the shuffling before the split.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 (samples, 8), and the median house value in dollars
        (samples,).

    Raises:
        ArgumentError: version or test_split is out of range.
        DownloadError: the file is not there and cannot be downloaded; the message says what to do.

    Example:
        >>> (x_train, y_train), _ = load_data("small")  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (480, 8)

    Credit: R. K. Pace, R. Barry, Sparse Spatial Autoregressions, 1997.
    Source: https://keras.io/api/datasets/california_housing/
    """
    check_test_split(test_split)
    one_of(version, _ROWS, "load_data, version")
    file = find_file(path, KERAS_STORE + "california_housing.npz", _SHA256)
    return load_table(file, test_split, seed, _ROWS[version])
