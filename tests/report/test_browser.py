"""Every picture and the pages in a real browser: all parts are there and drawn, fit a phone, follow light and dark."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tools import pictures
from tools.browser import DESKTOP, MISSING, PHONE, Browser, chromium

from lamina.report import write_report

needs_browser = pytest.mark.skipif(chromium() is None, reason=MISSING)
PAGES = ("report.html", "healthy.html")
WIDER = """[...document.querySelectorAll('body *')].filter(part => !part.closest('.wide, .tall, pre, svg')
  && part.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(part => part.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    told = []
    paths = pictures.make_all(folder, pictures.Size(300, 2), told.append)
    assert len(told) == len(paths) - 1 + len(pictures.PARTS), "progress is shown"
    return paths


@pytest.fixture(scope="module")
def folder(made):
    return made[0].parent


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def gray(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGBA").convert("L")).astype(float)


def test_every_picture_is_made_and_not_blank(made):
    assert {path.suffix for path in made} == {".png", ".svg", ".html", ".txt"}
    drawn = [path for path in made if path.suffix == ".png"]
    assert len(drawn) == 13
    for path in drawn:
        pixels = gray(path)
        assert pixels.std() > 8 and min(pixels.shape) > 150, path.name
    summary = (made[0].parent / "summary.txt").read_text()
    assert "FLOPs" in summary and "Outputs per sample" in summary and "digit (Dense)" in summary


@needs_browser
def test_all_parts_of_the_report_are_drawn(browser, folder):
    browser.open(folder / "report.html")
    assert browser.requests == [] and browser.problems == []
    count = {
        "#curves svg path.a": 2,
        "#curves svg path.b": 2,
        "#architecture tbody tr": 5,
        "#architecture svg rect.title": 5,
        "#confusion tbody td": 100,
        "#samples img": 24,
        "#compile tr": 7,
        "script": 0,
    }
    for part, times in count.items():
        assert browser.tell(f"document.querySelectorAll('{part}').length") == times, part
    for part in ("#findings .finding h3", "#execution tr", "#fingerprint tr", "#environment tr", "nav a", ".tile b"):
        assert browser.tell(f"document.querySelectorAll('{part}').length") > 0, part
        assert browser.tell(f"[...document.querySelectorAll('{part}')].every(one => one.innerText.trim())"), part
    assert browser.tell("[...document.images].every(image => image.complete && image.naturalWidth == 28)")
    assert "unscaled-inputs" in browser.tell("document.querySelector('#findings').innerText")
    assert browser.tell(
        "[...document.querySelectorAll('section, section svg')].every(one => one.getBoundingClientRect().height > 40)"
    )
    links = "[...document.querySelectorAll('nav a')].every(one => document.querySelector(one.getAttribute('href')))"
    assert browser.tell(links)


@needs_browser
def test_all_pictures_load(browser, folder, made):
    browser.open(folder / "index.html")
    wanted = {path.name for path in made if path.suffix in (".png", ".svg")}
    assert browser.problems == [] and {url.rpartition("/")[2] for url in browser.requests} == wanted
    assert browser.tell("[...document.images].filter(image => !(image.naturalWidth > 0)).map(image => image.src)") == []
    browser.open(folder / "model.svg")
    told = browser.tell("document.documentElement.textContent")
    for part in ("rows", "MultiHeadAttention", "think", "gelu", "(None, 28, 32)", "softmax"):
        assert part in told
    assert browser.requests == [] and browser.problems == []


@needs_browser
@pytest.mark.parametrize("name", [*PAGES, "index.html"])
@pytest.mark.parametrize("width", [320, PHONE, DESKTOP])
def test_nothing_is_wider_than_the_screen(browser, folder, name, width):
    browser.open(folder / name, width)
    assert browser.tell("document.documentElement.scrollWidth") <= width
    assert browser.tell(WIDER) == []


@needs_browser
def test_letters_are_large_enough_on_a_phone(browser, folder):
    browser.open(folder / "healthy.html", PHONE)
    smallest = browser.tell(
        "Math.min(...[...document.querySelectorAll('main *:not(svg *)')].filter(one => one.innerText)"
        ".map(one => parseFloat(getComputedStyle(one).fontSize)))"
    )
    assert smallest >= 11
    drawn = browser.tell(
        "Math.min(...[...document.querySelectorAll('svg text')].filter(one => one.getBBox().width)"
        ".map(one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a))"
    )
    assert drawn >= 6.5


@needs_browser
def test_screenshots_are_light_or_dark_and_drawn(browser, folder):
    shots = {path.name: gray(path) for path in pictures.shots(folder, browser)}
    pages = (*PAGES, "index.html", "model.svg")
    assert len(shots) == 4 * len(pages)
    for name, width, dark in itertools.product(pages, (PHONE, DESKTOP), (False, True)):
        pixels = shots[pictures.shot_name(name, width, dark)]
        assert pixels.std() > 10 and pixels.shape[0] > 500
        assert pixels.shape[1] >= width * (2 if width == PHONE else 1)
        ground = np.median(pixels[:, -4:])
        assert (ground < 60) if dark else (ground > 200), (name, width, dark)


@needs_browser
def test_a_page_with_long_names_and_hostile_ones_fits_too(browser, tmp_path):
    long = "a_very_long_name_without_any_blank_" * 4
    results = {long: [1.0, 0.5], f"<b onclick=alert(1)>{long}": [2.0, 1.0]}
    page = write_report(tmp_path / "long.html", results, fingerprint={long: long}, title=long)
    browser.open(page, PHONE)
    assert browser.tell(WIDER) == [] and browser.tell("document.documentElement.scrollWidth") <= PHONE
    assert browser.problems == [] and browser.tell("document.querySelectorAll('main b[onclick]').length") == 0


@needs_browser
def test_the_browser_tells_of_requests_and_problems(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<img src='missing.png'><script>console.error('loud'); nothing()</script>")
    browser.open(page)
    assert browser.requests == [(tmp_path / "missing.png").as_uri()]
    assert "loud" in browser.problems and len(browser.problems) >= 2
    with pytest.raises(RuntimeError, match="nothing"):
        browser.tell("nothing()")
