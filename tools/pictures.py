"""Every kind of picture that lamina makes, from small models trained on the digits that come with it.

    python tools/pictures.py [--out pictures] [--quick]

Writes the pictures, a page `index.html` that shows them all, and, where a chromium is found, screenshots of the pages
on a phone and on a desk, light and dark. It takes about two minutes on two cores; with --quick, as in the tests, the
models are hardly trained.
"""

from __future__ import annotations

import argparse
import html
import itertools
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tools.browser import DESKTOP, MISSING, PHONE, Browser, chromium  # noqa: E402

import lamina  # noqa: E402
from lamina import Model, Sequential, layers, visualization  # noqa: E402
from lamina.callbacks import WeightHistograms  # noqa: E402
from lamina.utils import plot_model  # noqa: E402

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIDE = 48
"""Pixels of a scene, across and down."""


class Size(NamedTuple):
    """How much is trained: samples and epochs."""

    samples: int = 3000
    epochs: int = 6


def digits(size: Size) -> tuple[Any, Any, Any, Any]:
    """Images from 0 to 1, (count, 28, 28, 1), and their classes, to train and to test."""
    (x, y), (x_test, y_test) = lamina.datasets.digits.load_data()
    x, x_test = (images[..., None].astype("float32") / 255 for images in (x, x_test))
    return x[: size.samples], y[: size.samples].astype(int), x_test, y_test.astype(int)


def of_training(out: Path, size: Size) -> Iterator[Path]:
    """A classifier: its report, curves, mistakes and insides."""
    x, y, x_test, y_test = digits(size)
    model = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu", name="edges"),
            layers.MaxPooling2D(2, name="smaller"),
            layers.Conv2D(24, 3, activation="relu", name="shapes"),
            layers.MaxPooling2D(2, name="smallest"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.3, name="forget"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    (out / "summary.txt").write_text(_summary(model), "utf-8")
    yield out / "summary.txt"
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = model.find_learning_rate(x, y, batch_size=32, steps=100)
    visualization.plot_learning_rates(found, out / "learning_rates.png")
    yield out / "learning_rates.png"

    watched = WeightHistograms()
    history = model.fit(x, y, epochs=size.epochs, verbose=0, validation_data=(x_test, y_test), callbacks=[watched])
    told = model.predict(x_test, verbose=0)
    history.report(out / "healthy.html", x=x_test, y=y_test, class_names=NAMES, title="Handwritten digits")
    history.plot(out / "curves.png")
    visualization.plot_confusion_matrix(y_test, told, out / "confusion.png", NAMES)
    visualization.plot_misclassified(x_test, y_test, told, out / "misclassified.png", count=20)
    visualization.plot_calibration(y_test, told, out / "calibration.png")
    visualization.plot_feature_maps(model, "edges", x_test[:1], out / "feature_maps.png")
    visualization.plot_histograms(watched, out / "weights.png")
    visualization.plot_histograms(watched, out / "gradients.png", what="gradients")
    guesses = told.argmax(-1)
    first = np.concatenate([np.flatnonzero(guesses == y_test)[:9], np.flatnonzero(guesses != y_test)[:3]])
    visualization.plot_image_gallery(
        x_test[first], y_test[first], guesses[first], dict(enumerate(NAMES)), cols=4, value_range=(0, 1),
        path=out / "gallery.png",
    )  # fmt: skip
    names = "healthy.html curves confusion misclassified calibration feature_maps weights gradients gallery"
    yield from (out / (name if "." in name else f"{name}.png") for name in names.split())


def _summary(model: Any) -> str:
    lines: list[str] = []
    model.summary(flops=True, memory=True, print_fn=lines.append, line_length=110)
    return "\n".join(lines) + "\n"


def of_faults(out: Path, size: Size) -> Iterator[Path]:
    """A training in which much is wrong: the report tells what the doctor found."""
    x, y, x_test, y_test = digits(size)
    model = Sequential([layers.Input((28, 28, 1)), layers.Flatten()], name="unwell")
    for number in range(3):
        model.add(layers.Dense(64, activation="relu", kernel_initializer="random_normal", name=f"hidden_{number}"))
    model.add(layers.Dense(10, activation="softmax", name="digit"))
    model.compile(lamina.optimizers.SGD(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = (x_test * 255, y_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            x * 255, y, epochs=size.epochs, verbose=0, validation_data=data, doctor=True, report=out / "report.html"
        )
    yield out / "report.html"


def of_attention(out: Path, size: Size) -> Iterator[Path]:
    """A model that reads a digit row by row, with a model inside: its graph, and where it looks."""
    x, y, _, _ = digits(size)
    inner = Sequential([layers.Dense(32, activation="gelu"), layers.Dense(24)], name="think")
    image = layers.Input((28, 28), name="rows")
    read = layers.Dense(24, name="embed")(image)
    looked = layers.MultiHeadAttention(4, 6, name="look")(read, read)
    read = layers.LayerNormalization(name="norm")(layers.Add(name="skip")([read, looked]))
    read = layers.Add(name="skip_again")([read, inner(read)])
    pooled = layers.GlobalAveragePooling1D(name="pool")(read)
    model = Model(image, layers.Dense(10, activation="softmax", name="digit")(pooled), name="reader")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[..., 0], y, epochs=size.epochs, verbose=0)
    rows = [f"row {place}" for place in range(28)]
    visualization.plot_attention(model, "look", x[:1, ..., 0], out / "attention.png", tokens=rows)
    yield out / "attention.png"
    for name in ("model.svg", "model.png"):
        plot_model(
            model,
            out / name,
            show_shapes=True,
            show_layer_names=True,
            show_layer_activations=True,
            expand_nested=True,
            dpi=100,
        )
        yield out / name


def scenes(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy images with a digit and a bright block: the images, the digit's box as (x, y, x, y), and the masks.

    Classes of the masks are 0 for the ground, 1 for the digit and 2 for the block.
    """
    (digit, _), _ = lamina.datasets.digits.load_data()
    random = np.random.default_rng(0)
    images = random.uniform(0, 60, (count, SIDE, SIDE, 3)).astype("float32")
    masks, boxes = np.zeros((count, SIDE, SIDE), int), np.zeros((count, 4), "float32")
    for place in range(count):
        ink = digit[place % len(digit)] > 100
        left, top = random.integers(0, SIDE - 28, 2)
        at = random.integers(0, SIDE - 9, 2)
        images[place, at[0] : at[0] + 9, at[1] : at[1] + 9] = (200, 160, 60)
        masks[place, at[0] : at[0] + 9, at[1] : at[1] + 9] = 2
        images[place, top : top + 28, left : left + 28][ink] = (120, 170, 230)
        masks[place, top : top + 28, left : left + 28][ink] = 1
        rows, columns = np.nonzero(ink)
        boxes[place] = left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1
    return images, boxes, masks


def of_scenes(out: Path, size: Size) -> Iterator[Path]:
    """A model that finds the digit in a scene and colours what it sees: boxes and masks."""
    images, boxes, masks = scenes(size.samples // 3)
    image = layers.Input((SIDE, SIDE, 3), name="scene")
    seen = layers.Rescaling(1 / 255)(image)
    seen = layers.Conv2D(12, 3, padding="same", activation="relu")(seen)
    mask = layers.Conv2D(3, 3, padding="same", activation="softmax", name="mask")(seen)
    small = layers.MaxPooling2D(3)(layers.Conv2D(12, 3, padding="same", activation="relu")(mask))
    box = layers.Dense(4, name="box")(layers.Dense(48, activation="relu")(layers.Flatten()(small)))
    model = Model(image, [mask, box], name="finder")
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"], loss_weights=[1.0, 10.0])
    model.fit(images[16:], [masks[16:], boxes[16:] / SIDE], epochs=size.epochs + 4, verbose=0)
    told_mask, told_box = model.predict(images[:16], verbose=0)

    def as_boxes(values: np.ndarray) -> dict[str, np.ndarray]:
        return {"boxes": values[:12, None], "labels": np.zeros((12, 1), int)}

    scale = 4  # so that lines and captions have room
    visualization.plot_bounding_box_gallery(
        images[:12].repeat(scale, 1).repeat(scale, 2),
        "xyxy",
        as_boxes(boxes * scale),
        as_boxes(told_box * SIDE * scale),
        prediction_mapping={0: "digit"},
        font_scale=0.7,
        text_thickness=1,
        legend=True,
        cols=4,
        path=out / "boxes.png",
    )
    visualization.plot_segmentation_mask_gallery(
        images[:4],
        3,
        y_true=masks[:4],
        y_pred=told_mask[:4].argmax(-1),
        color_mapping={1: (230, 60, 60), 2: (60, 200, 90)},
        path=out / "masks.png",
    )
    yield from (out / "boxes.png", out / "masks.png")


PARTS = (of_training, of_faults, of_attention, of_scenes)


def make_all(out: Path, size: Size, tell: Any = print) -> list[Path]:
    """Make all pictures, and a page that shows them."""
    out.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for part in PARTS:
        lamina.utils.set_random_seed(1)
        began = time.perf_counter()
        for path in part(out, size):
            made.append(path)
            tell(f"  {path}")
        tell(f"{part.__name__.replace('_', ' ')}: {time.perf_counter() - began:.0f} s")
    (out / "index.html").write_text(index(made), "utf-8")
    return [*made, out / "index.html"]


def index(made: list[Path]) -> str:
    """A page that shows pictures and leads to the rest."""
    shown = "".join(
        f'<figure><img src="{path.name}" alt="{path.stem}"><figcaption>{html.escape(path.name)}</figcaption></figure>'
        if path.suffix in (".png", ".svg")
        else f'<p><a href="{path.name}">{html.escape(path.name)}</a></p>'
        for path in made
    )
    style = (
        ":root { color-scheme: light dark } body { font-family: sans-serif; margin: 1rem; max-width: 70rem } "
        "figure { margin: 1rem 0 } img { max-width: 100% } figcaption { font-size: .85rem }"
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Pictures of lamina</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body><h1>Pictures of lamina</h1>{shown}</body></html>\n"
    )


def shots(out: Path, browser: Browser) -> Iterator[Path]:
    """Screenshots of the pages and of the graph, on a phone and on a desk, light and dark."""
    for name in ("report.html", "healthy.html", "index.html", "model.svg"):
        for width, dark in itertools.product((PHONE, DESKTOP), (False, True)):
            shot = out / "shots" / shot_name(name, width, dark)
            shot.parent.mkdir(exist_ok=True)
            browser.open(out / name, width, dark)
            browser.shoot(shot)
            yield shot


def shot_name(page: str, width: int, dark: bool) -> str:
    """The file of a screenshot."""
    return f"{Path(page).stem}-{'phone' if width == PHONE else 'desktop'}-{'dark' if dark else 'light'}.png"


def main() -> None:
    """Make the pictures, and the screenshots where they can be made."""
    parser = argparse.ArgumentParser(description="Every kind of picture that lamina makes.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="the folder to write to")
    parser.add_argument("--quick", action="store_true", help="train hardly at all")
    given = parser.parse_args()
    make_all(given.out, Size(300, 2) if given.quick else Size())
    if chromium() is None:
        print(f"No screenshots: {MISSING}")
        return
    with Browser() as browser:
        for shot in shots(given.out, browser):
            print(f"  {shot}")


if __name__ == "__main__":
    main()
