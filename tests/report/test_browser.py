"""The page in a real browser: it is drawn, fits a phone, and follows light and dark."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest

from lamina import Sequential, layers

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt install chromium, or set CHROMIUM")


def browse(folder, url, *options):
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options, url]
    home = {**os.environ, "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=home).stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "report.html"
    model = Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x = rng.random((60, 8, 8, 1)).astype("float32")
    model.fit(x, rng.integers(0, 10, 60), epochs=2, verbose=0, validation_split=0.5, report=path)
    return path


def test_all_parts_are_in_the_document(page):
    document = browse(page.parent, page.as_uri(), "--dump-dom")
    for part in ("curves", "architecture", "confusion", "samples", "execution", "compile", "environment"):
        assert f'<section id="{part}"' in document
    assert document.count("<svg") == 3 and document.count("<img") == 24


@pytest.mark.parametrize("width", [500, 1280])
def test_it_is_light_or_dark_and_drawn(page, width):
    image = pytest.importorskip("PIL.Image")
    shades = []
    for scheme in ("1", "0"):
        shot = page.parent / f"{width}-{scheme}.png"
        options = (
            f"--screenshot={shot}",
            f"--window-size={width},2400",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        browse(page.parent, page.as_uri(), *options)
        pixels = np.asarray(image.open(shot).convert("L")).astype(float)
        assert pixels.shape == (2400, width) and pixels.std() > 10
        shades.append(np.median(pixels))
    assert shades[0] > 200 and shades[1] < 60


def test_nothing_is_wider_than_a_phone(page):
    # A frame of a phone's width is asked how wide its content wants to be; the page itself runs no script.
    frame = page.parent / "frame.html"
    text = page.read_text("utf-8").replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    frame.write_text(text.replace("</body>", script), "utf-8")
    document = browse(page.parent, frame.as_uri(), "--dump-dom", "--window-size=500,900")
    wanted, given = map(int, document.partition("<title>")[2].partition("</title>")[0].split())
    assert wanted <= given <= 500
