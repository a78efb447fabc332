"""Support for scripts written for Keras, tf.keras and their earlier versions. `lamina run` turns it on.

Nothing in lamina depends on this package: without `install()` the names in it do not exist.
"""

from __future__ import annotations

from lamina.compat.importing import install_finder, remove_finder
from lamina.compat.training import install_arguments, remove_arguments


def install() -> None:
    """Make `import keras` and `import tensorflow.keras` give lamina in this process, with the names of old versions.

    Each old name that is used prints one line on stderr that says what replaces it.

    Example:
        >>> install()
        >>> from keras.layers.core import Dense
        >>> Dense.__module__
        'lamina.layers.core'
        >>> uninstall()
    """
    install_finder()
    install_arguments()


def uninstall() -> None:
    """Undo `install()`. Modules that were imported in between keep what they imported."""
    remove_finder()
    remove_arguments()
