"""The page about a training: what stands in it, that it needs nothing else, and that no string breaks out of it."""

from __future__ import annotations

import os
import platform
import re
import struct
import subprocess
import sys
import threading
import urllib.request
import warnings
import zlib
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from lamina import Model, Sequential, callbacks, layers
from lamina.callbacks import Report
from lamina.cli.watch import server_of
from lamina.core.errors import ArgumentError, DataError, MissingPackageError
from lamina.doctor import Finding
from lamina.report import write_report
from lamina.report.evidence import gather, picture
from lamina.report.page import is_abandoned
from lamina.utils import plot_model
from lamina.visualization.cards import Shown
from lamina.visualization.vectors import curves_svg, model_svg, ticks

VOID = {"meta", "img"}
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&'"


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.told = " ".join(self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert tag not in VOID and self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and (not self.open or self.open[-1] != "style"):
            self.text.append(data.strip())


def checked(path):
    text = path.read_text("utf-8")
    page = Page(text.replace("<wbr>", ""))
    assert "script" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "action", "data", "srcset"):
            assert value.startswith("data:image/png;base64,") if tag == "img" else value.startswith("#"), (tag, value)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert len(page.ids) == len(set(page.ids))
    return page


def classifier(name="digits"):
    model = Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="softmax", name="last")], name=name
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    return model, rng.random((40, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 40)


def test_fit_writes_a_page_with_all_parts(tmp_path):
    model, x, y = classifier()
    path = tmp_path / "runs" / "report.html"
    model.fit(x, y, epochs=2, verbose=0, validation_split=0.25, report=path)
    page = checked(path)
    parts = ["curves", "architecture", "confusion", "samples", "execution", "compile", "fingerprint", "environment"]
    assert page.ids == parts
    for told in ("Training of digits", "val_loss", "finished, epoch 2 of 2", "Dense", "last"):
        assert told in page.told
    assert "sparse_categorical_crossentropy" in page.told and "Adam(learning_rate=0.001" in page.told
    assert re.search(r"% of 10 right", page.told), "the validation data is looked at"
    assert page.tags.count("img") == 10 and page.tags.count("svg") == 3
    assert not any(name == "http-equiv" and value == "refresh" for _, name, value in page.attributes)
    assert not list(tmp_path.glob("**/.*")), "nothing is left beside it"


def test_the_page_changes_nothing_of_the_training(tmp_path):
    results = []
    for report in (None, tmp_path / "r.html"):
        torch.manual_seed(0)
        model, x, y = classifier()
        for weight in model.trainable_weights:
            weight.assign(torch.ones_like(weight) * 0.01)
        results.append(model.fit(x, y, epochs=3, verbose=0, shuffle=False, report=report).history)
    assert results[0] == results[1]


def test_no_string_of_the_user_breaks_out(tmp_path):
    model, x, y = classifier()
    finding = Finding("dead-relu", "warning", EVIL, EVIL, layer=EVIL, step=3, evidence={EVIL: EVIL})
    results = {EVIL: [1.0, 2.0], f"val_{EVIL}": [1.0, 2.0], "words": [EVIL, EVIL]}
    told = {"fingerprint": {EVIL: EVIL}, "class_names": [EVIL] * 3, "title": EVIL}
    page = checked(write_report(tmp_path / "r.html", results, model, x, y, [finding], **told))
    assert page.told.count("alert(1)") > 8 and "findings" in page.ids
    inputs = layers.Input((2,))
    odd = Model(inputs, layers.Dense(1, name="a<b>&c")(inputs), name="m<video>")
    page = checked(write_report(tmp_path / "m.html", {"loss": [1.0]}, odd))
    assert "a<b>&c" in page.told and "video" not in page.tags


def test_history_writes_a_page_and_draws_itself(tmp_path):
    model, x, y = classifier()
    history = model.fit(x, y, epochs=2, verbose=0)
    page = checked(history.report(tmp_path / "r.html", x=x, y=np.eye(3)[y], class_names=["ant", "bee", "cat"]))
    assert {"confusion", "samples", "fingerprint"} <= set(page.ids) and "bee" in page.told
    assert len(history.plot(tmp_path / "c.png").axes) == 2 and (tmp_path / "c.png").exists()
    with pytest.raises(ArgumentError, match=r"ending in \.html"):
        history.report(tmp_path / "r.pdf")
    with pytest.raises(ArgumentError, match=r"ending in \.html"):
        model.fit(x, y, verbose=0, report="report.txt")


def test_numbers_are_shown_as_points_and_rows(tmp_path):
    model = Sequential([layers.Input((9,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(50, 9)).astype("float32")
    model.fit(x, x.sum(1), verbose=0, report=tmp_path / "r.html")
    page = checked(tmp_path / "r.html")
    assert "confusion" not in page.ids and "predicted by true value" in page.told and "prediction" in page.told
    assert page.tags.count("circle") >= 50


def test_loaders_are_looked_at_and_streams_are_not(tmp_path):
    model, x, y = classifier()
    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    model.fit(torch.utils.data.DataLoader(data, 16), verbose=0, report=tmp_path / "a.html")
    assert "confusion" in checked(tmp_path / "a.html").ids
    model.fit(((x[:8], y[:8]) for _ in range(2)), verbose=0, steps_per_epoch=2, report=tmp_path / "b.html")
    assert "samples" not in checked(tmp_path / "b.html").ids


def test_data_that_cannot_be_shown_leaves_the_rest(tmp_path):
    model, x, y = classifier()
    page = checked(write_report(tmp_path / "r.html", {"loss": [1.0]}, model, x[:, :4], y))
    assert "could not be shown" in page.told and "architecture" in page.ids


def test_many_classes_are_told_as_the_worst_pairs(tmp_path):
    model = Sequential([layers.Input((4,)), layers.Dense(40, activation="softmax")])
    y = np.arange(80) % 40
    page = checked(write_report(tmp_path / "r.html", {}, model, np.ones((80, 4), "float32"), y))
    assert "taken for" in page.told


def test_live_pages_are_written_along_the_way_and_ask_to_be_loaded_again(tmp_path):
    model, x, y = classifier()
    path, seen = tmp_path / "r.html", []

    class Look(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            text = path.read_text()
            seen.append((text.count("<circle"), 'data-state="running"' in text, 'content="1"' in text))

    model.fit(x, y, epochs=3, verbose=0, batch_size=8, callbacks=[Report(path, every=0.0, batches=True), Look()])
    assert [state[1:] for state in seen] == [(True, True)] * 3 and seen[0][0] < seen[1][0] < seen[2][0]
    assert 'data-state="finished"' in path.read_text() and "along the batches" in path.read_text()


def test_pages_are_not_written_more_often_than_asked(tmp_path, monkeypatch):
    model, x, y = classifier()
    written = []
    monkeypatch.setattr("lamina.callbacks.report.write_report", lambda *given, **told: written.append(told))
    model.fit(x, y, epochs=5, verbose=0, callbacks=[Report(tmp_path / "r.html", every=3600.0)])
    assert [told["progress"].state for told in written] == ["running", "finished"]
    written.clear()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True))
    model.fit(x, y, epochs=5, verbose=0, callbacks=[Report(tmp_path / "r.html", every=None), stop])
    assert [told["progress"].state for told in written] == ["stopped"] and not written[0]["progress"].batches


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    model, x, y = classifier()

    def write(path, results, *given, **told):
        if results:
            raise OSError("no space left")

    monkeypatch.setattr("lamina.callbacks.report.write_report", write)
    with pytest.warns(UserWarning, match="no space left"):
        history = model.fit(x, y, epochs=2, verbose=0, callbacks=[Report(tmp_path / "r.html", every=0.0)])
    assert len(history.history["loss"]) == 2


@pytest.mark.parametrize(
    "error, state", [(RuntimeError("the data <b>ended</b>"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_what_ended_a_training_stands_on_the_page(tmp_path, error, state):
    model, x, y = classifier()

    def fail(epoch, logs):
        if epoch == 1:
            raise error

    with pytest.raises(type(error)):
        model.fit(
            x,
            y,
            epochs=3,
            verbose=0,
            callbacks=[callbacks.LambdaCallback(on_epoch_begin=fail)],
            report=tmp_path / "r.html",
        )
    page = checked(tmp_path / "r.html")
    assert ("body", "data-state", state) in page.attributes and f"{state}, epoch 1 of 3" in page.told
    assert ("RuntimeError: the data <b>ended</b>" in page.told) == (state == "failed")
    assert not any(name == "http-equiv" and value == "refresh" for _, name, value in page.attributes)


def test_an_exception_around_a_good_training_is_not_its_end(tmp_path):
    model, x, y = classifier()
    try:
        raise KeyError
    except KeyError:
        model.fit(x, y, verbose=0, report=tmp_path / "r.html")
    assert 'data-state="finished"' in (tmp_path / "r.html").read_text()


def test_a_page_names_its_process_and_watch_tells_when_that_is_gone(tmp_path):
    model, x, y = classifier()
    pages = []
    look = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: pages.append((tmp_path / "r.html").read_text()))
    model.fit(x, y, verbose=0, callbacks=[look], report=tmp_path / "r.html")
    assert f"process {os.getpid()} on {platform.node()}" in pages[0] and not is_abandoned(pages[0])
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = pages[0].replace(f' {os.getpid()}">', f' {ended.pid}">')
    assert is_abandoned(left) and not is_abandoned(left.replace('data-process="', 'data-process="elsewhere-'))
    assert not is_abandoned((tmp_path / "r.html").read_text())
    (tmp_path / "left.html").write_text(left)
    server = server_of(tmp_path, 0, 2)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        told = []
        for name in ("left.html", "r.html"):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{name}", timeout=10) as answer:
                told.append(answer.read().decode())
                assert answer.headers["Refresh"] == "2"
        assert "is gone" in told[0] and told[0].count("<nav>") == 1 and "is gone;" not in told[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_of_several_processes_the_first_alone_writes(tmp_path, monkeypatch):
    model, x, y = classifier()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank in (1, 0):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        callback = Report(tmp_path / f"{rank}.html", x, y)
        callback.set_model(model)
        callback.set_params({"epochs": 1})
        callback.on_train_begin()
        callback.on_train_end()
    assert [page.name for page in tmp_path.iterdir()] == ["0.html"]
    assert "samples" in checked(tmp_path / "0.html").ids
    monkeypatch.setattr(type(model.weights[0]), "device_mesh", "mesh", raising=False)
    callback.on_train_begin()
    callback.on_train_end()
    assert "samples" not in checked(tmp_path / "0.html").ids


def test_no_sample_is_no_evidence():
    with pytest.raises(DataError, match=r"no sample[\s\S]*where: the samples[\s\S]*expected: arrays"):
        gather(classifier()[0], np.zeros((0, 8, 8, 1)), np.zeros(0))


def test_findings_of_the_doctor_are_shown(tmp_path):
    model, x, y = classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(x * 255, y, epochs=1, verbose=0, doctor=True, report=tmp_path / "r.html")
    page = checked(tmp_path / "r.html")
    assert history.findings.codes
    for code in history.findings.codes:
        assert code in page.told


def test_samples_are_looked_at_in_evaluation_and_without_touching_the_generator():
    model = Sequential([layers.Input((4,)), layers.Dropout(0.9), layers.Dense(2)])
    x, y = np.ones((6, 4), "float32"), np.array([0, 1] * 3)
    state = torch.random.get_rng_state()
    found = gather(model, x, y)
    assert found is not None and np.array_equal(found.told, model.predict(x, verbose=0)) and found.kind == "classes"
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (300, 300)])
def test_pictures_are_png(shape):
    import base64

    data = base64.b64decode(picture(np.random.default_rng(0).random(shape), 0.0, 1.0).partition(",")[2])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    step = max(1, max(shape[:2]) // 128)
    assert (height, width) == (-(-shape[0] // step), -(-shape[1] // step)) and depth == 8
    at = data.index(b"IDAT")
    raw = zlib.decompress(data[at + 4 : at + 4 + struct.unpack(">I", data[at - 4 : at])[0]])
    assert len(raw) == height * (1 + width * (3 if kind == 2 else 1))


def test_curves_bear_what_is_not_finite():
    svg = curves_svg("loss", {"training": ([1, 2, 3, 4], [1.0, float("nan"), float("inf"), 0.5])})
    Page(svg)
    assert "nan" not in svg.lower().replace("training", "") and svg.count("<circle") == 2
    Page(curves_svg("loss", {"training": ([1], [float("nan")])}))
    assert ticks(0.0, 7.3) == [0.0, 2.0, 4.0, 6.0]


def test_models_are_drawn_with_nested_ones_and_branches():
    inner = Sequential([layers.Input((4,)), layers.Dense(4, activation="relu")], name="inner")
    inputs = layers.Input((4,), name="begin")
    model = Model(inputs, layers.Add()([inner(inputs), inputs]))
    svg = model_svg(model, Shown(shapes=True, activations=True, dtype=True, trainable=True), expand_nested=True)
    page = Page(svg.partition("?>")[2])
    assert page.tags.count("polygon") == 3 and "relu" in page.told and "inner" in page.told and "begin" in page.told


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_arrows_of_an_svg_end_at_the_layers(rankdir):
    model = Sequential([layers.Input((4,)), layers.Dense(4), layers.Dense(3), layers.Dense(2)])
    drawing = ElementTree.fromstring(model_svg(model, Shown(), rankdir=rankdir).partition("?>")[2])
    space = "{http://www.w3.org/2000/svg}"
    boxes = [[float(box.get(side)) for side in ("x", "y", "width", "height")] for box in drawing.iter(f"{space}rect")]
    tips = [
        [float(part) for part in head.get("points").split()[-1].split(",")] for head in drawing.iter(f"{space}polygon")
    ]
    assert len(boxes) == 3 and len(tips) == 2
    for (left, top, wide, high), (x, y) in zip(boxes[1:], tips, strict=True):
        ends = {"TB": (left + wide / 2, top), "BT": (left + wide / 2, top + high)}
        ends |= {"LR": (left, top + high / 2), "RL": (left + wide, top + high / 2)}
        assert np.allclose((x, y), ends[rankdir], atol=0.2)
    order = [box[1 if rankdir in ("TB", "BT") else 0] for box in boxes]
    assert order == sorted(order, reverse=rankdir in ("BT", "RL"))


def test_a_model_is_written_as_svg_without_graphviz_and_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    plot_model(classifier()[0], tmp_path / "m.svg", show_shapes=True)
    text = (tmp_path / "m.svg").read_text()
    assert text.startswith("<?xml") and "(None, 64)" in text
    assert "prefers-color-scheme: dark" in text and "var(" not in text
    ElementTree.fromstring(text)
    with pytest.raises(MissingPackageError):
        plot_model(classifier()[0], tmp_path / "m.png")
