"""The version of lamina."""

__version__ = "0.1.0"


def version() -> str:
    """The version of lamina.

    Example:
        >>> version().count(".")
        2
    """
    return __version__
