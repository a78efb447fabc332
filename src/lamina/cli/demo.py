"""`lamina demo`: a small network trained on real handwritten digits, start to end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina import layers
from lamina.core.errors import StateError
from lamina.visualization import plot_history, plot_predictions


def show_demo(out: Path, epochs: int) -> float:
    """Train, evaluate, draw, save and reload; print where everything is.

    Args:
        out: the folder to write to.
        epochs: how often to go through the training images.

    Returns:
        The accuracy on the test images.

    Raises:
        StateError: the reloaded model predicts something else.
    """
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    lamina.utils.set_random_seed(1)
    (x_train, y_train), (x_test, y_test) = lamina.datasets.digits.load_data()
    x_train, x_test = (x[..., None].astype("float32") / 255 for x in (x_train, x_test))
    print(f"{len(x_train):,} handwritten digits to learn from, {len(x_test):,} to be tested on.\n")

    model = build_model()
    model.summary()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, batch_size=32, epochs=epochs, validation_data=(x_test, y_test))
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)

    probabilities = model.predict(x_test, verbose=0)
    plot_history(history, out / "curves.png", ["loss", "accuracy"], title="Training on handwritten digits")
    draw_predictions(x_test, y_test, probabilities, out / "predictions.png")
    model.save(out / "m.keras")
    reloaded = lamina.saving.load_model(out / "m.keras")
    difference = float(np.abs(reloaded.predict(x_test, verbose=0) - probabilities).max())
    if difference > 1e-6:
        what, received = "The reloaded model predicts something else.", f"a difference of {difference:.1e}"
        raise StateError(what, where=str(out / "m.keras"), expected="a difference below 1e-6", received=received)

    print(f"\nTest accuracy {accuracy:.1%} after {time.perf_counter() - began:.0f} seconds.")
    print(f"  {out / 'curves.png'}       loss and accuracy of each epoch")
    print(f"  {out / 'predictions.png'}  test digits with the network's answers")
    print(f"  {out / 'm.keras'}          the model; loaded again, it predicts the same")
    return float(accuracy)


def build_model() -> Any:
    """A convolutional network for images (28, 28, 1) of ten classes."""
    return lamina.Sequential(
        [
            lamina.Input(shape=(28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def draw_predictions(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, path: Path) -> None:
    """Some digits that are told right, then those told wrong, the surest mistakes first."""
    is_right = probabilities.argmax(-1) == labels
    wrong = np.flatnonzero(~is_right)
    wrong = wrong[np.argsort(-probabilities[wrong].max(-1))][:20]
    shown = np.concatenate([np.flatnonzero(is_right)[:20], wrong])
    title = f"{is_right.sum():,} of {len(labels):,} test digits right; the mistakes are framed"
    plot_predictions(images[shown], labels[shown], probabilities[shown], path, title=title)
