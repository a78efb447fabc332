"""The page: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import datetime
import html
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lamina.core.errors import ArgumentError, LaminaError
from lamina.layers.costs import cost_of
from lamina.report.evidence import Evidence, decided, gather, is_images, picture
from lamina.report.style import STYLE
from lamina.version import __version__
from lamina.visualization.cards import Shown
from lamina.visualization.classification import confusion
from lamina.visualization.vectors import curves_svg, model_svg, points_svg

_SHOWN, _CLASSES, _LAYERS = 24, 20, 150
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Progress(NamedTuple):
    """How far a training is.

    Args:
        state: "running", "finished", "stopped", or "failed" where an exception ended it.
        epoch: how many epochs are done.
        epochs: how many there shall be.
        refresh: seconds after which a browser loads the page again; None for never.
        batches: results along the way, by name: numbers of steps, and values.
        reason: why it failed.
    """

    state: str = "finished"
    epoch: int | None = None
    epochs: int | None = None
    refresh: int | None = None
    batches: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {}
    reason: str = ""


FINISHED = Progress()
"""A training that is over."""


def write_report(
    path: str | os.PathLike[str],
    results: Mapping[str, Sequence[Any]],
    model: Any = None,
    x: Any = None,
    y: Any = None,
    findings: Sequence[Any] = (),
    fingerprint: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    progress: Progress = FINISHED,
    architecture: str | None = None,
) -> Path:
    """Write the page about a training; what there is already is replaced in one go.

    Args:
        path: the file.
        results: numbers by name, one for each epoch, those of validation named "val_...".
        model: the model.
        x: inputs to be shown with what the model says, or something of known length that gives batches (x, y).
        y: their targets.
        findings: what the doctor found.
        fingerprint: what the results depend on.
        class_names: the names of the classes; their numbers by default.
        title: stands above the page; the name of the model by default.
        progress: how far the training is.
        architecture: what `architecture_of` gave, where it is known.

    Returns:
        The file.

    Raises:
        ArgumentError: the file would be no page.

    Example:
        >>> write_report("report.html", {"loss": [0.9, 0.4]}).name
        'report.html'
    """
    target = checked(path)
    title = title or f"Training of {model.name}" if model is not None else title or "Training"
    if architecture is None:
        architecture = "" if model is None else architecture_of(model)
    parts = [
        ("curves", "Curves", _curves(results, progress)),
        ("findings", "Findings of the doctor", "".join(map(_finding, findings))),
        ("architecture", "Architecture", architecture),
        *_of_samples(model, x, y, class_names),
        ("execution", "How steps were run", _execution(model)),
        ("compile", "Compile arguments", _compile(model)),
        ("fingerprint", "What the numbers depend on", _facts(fingerprint or {})),
        ("environment", "Environment", _facts(_environment())),
    ]
    parts = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{name}">{_e(heading)}</a>' for name, heading, _ in parts)
    body = "".join(f'<section id="{name}"><h2>{_e(heading)}</h2>{told}</section>' for name, heading, told in parts)
    refresh = f'<meta http-equiv="refresh" content="{progress.refresh}">' if progress.refresh else ""
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}<style>{STYLE}</style></head>'
        f"<body{_state(progress)}><main><header><h1>{_e(title)}</h1>{_status(progress)}"
        f"<nav>{links}</nav></header>{_tiles(results, model)}{body}</main></body></html>\n"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    scratch.write_text(page, "utf-8")
    os.replace(scratch, target)
    return target


def checked(path: str | os.PathLike[str]) -> Path:
    """The path of a page.

    Raises:
        ArgumentError: it does not end as one does.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(
            "The report would be no page.",
            where="report",
            expected="a path ending in .html",
            received=path,
            fix=f"report={Path(path).with_suffix('.html').name!r}" if Path(path).name else None,
        )
    return Path(path)


def _e(text: Any) -> str:
    return html.escape(str(text))


def _status(progress: Progress) -> str:
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    done = "" if progress.epoch is None else f", epoch {progress.epoch}"
    done += f" of {progress.epochs}" if done and progress.epochs else ""
    told = f'<p class="soft">{_e(f"{progress.state}{done} · written {now} · lamina {__version__}")}</p>'
    if progress.state == "running":
        return f'{told}<p class="soft">{_e(_promise(progress.refresh))}</p>'
    return told + (f'<p class="reason">{_e(progress.reason)}</p>' if progress.reason else "")


def _promise(refresh: int | None) -> str:
    """What a reader who sees no news may conclude: a page without script cannot look at the clock."""
    again = "written anew after epochs" if refresh is None else f"written anew after epochs, at most every {refresh} s"
    return f"This page is {again}, by process {os.getpid()} on {platform.node()}; if that is gone, so is the training."


def _state(progress: Progress) -> str:
    """What programs that serve the page need to know of it."""
    process = f' data-process="{_e(platform.node())} {os.getpid()}"' if progress.state == "running" else ""
    return f' data-state="{progress.state}"{process}'


GONE = '<p class="reason">The process of this training is gone; what stands here is the last it wrote.</p>'
_RUNNING = re.compile(r'<body data-state="running" data-process="([^" ]*) (\d+)">')


def is_abandoned(text: str) -> bool:
    """Whether a page says of a training that it is running, and the process on this machine is no more.

    Args:
        text: the page.

    Example:
        >>> is_abandoned(f'<body data-state="running" data-process="{platform.node()} {os.getpid()}">')
        False
    """
    found = _RUNNING.search(text)
    if found is None or html.unescape(found[1]) != platform.node() or os.name != "posix":
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _number(value: Any) -> str:
    try:
        return f"{float(value):.5g}"
    except (TypeError, ValueError):
        return str(value)


def _tiles(results: Mapping[str, Sequence[Any]], model: Any) -> str:
    """The latest results, and the size of the model."""
    told = [(name, _number(values[-1])) for name, values in results.items() if len(values)][:8]
    if model is not None and model.built:
        told.append(("weights", f"{sum(weight.numel() for weight in model.weights):,}"))
    tiles = "".join(f'<div class="tile"><span class="soft">{_e(name)}</span><b>{_e(v)}</b></div>' for name, v in told)
    return f'<div class="tiles">{tiles}</div>'


def _floats(values: Sequence[Any]) -> list[float] | None:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return None


def _curves(results: Mapping[str, Sequence[Any]], progress: Progress) -> str:
    charts = []
    for name, values in results.items():
        own = _floats(values)
        if own is None or (name.startswith("val_") and name[4:] in results):
            continue
        lines = {"training": ([i + 1.0 for i in range(len(own))], own)}
        held_out = _floats(results.get(f"val_{name}", ()))
        if held_out:
            spacing = max(1, len(own) // len(held_out))
            lines["validation"] = ([spacing * (i + 1.0) for i in range(len(held_out))], held_out)
        charts.append(_chart(name, lines, "epoch"))
    for name, (steps, values) in progress.batches.items():
        if len(steps) > 1:
            charts.append(_chart(f"{name}, along the batches", {"training": (steps, values)}, "step"))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _chart(name: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> str:
    marks = "".join(
        f'<i class="line{place}"></i>{_e(told)} {_number(values[-1])}'
        for place, (told, (_, values)) in enumerate(lines.items())
    )
    return f'<div><h3>{_e(name)}</h3><div class="key">{marks}</div>{curves_svg(name, lines, label)}</div>'


def _finding(finding: Any) -> str:
    place = [finding.layer or "", "" if finding.step is None else f"step {finding.step}"]
    seen = ", ".join(f"{name} {_argument(value)}" for name, value in finding.evidence.items())
    level = finding.severity if finding.severity in ("error", "warning") else "note"
    return (
        f'<div class="finding {level}"><h3><b class="level">{_e(finding.severity)}</b> · {_e(finding.code)}</h3>'
        f'<p>{_e(finding.message)}</p><p class="soft">{_e(" · ".join(filter(None, [*place, seen])))}</p>'
        f"<pre>{_e(finding.remedy)}</pre></div>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: int = 0) -> str:
    """A table whose last columns hold numbers."""

    def cells(tag: str, row: Sequence[Any]) -> str:
        first = len(row) - numbers
        kinds = ["" if place < first else ' class="number"' for place in range(len(row))]
        return "".join(f"<{tag}{kind}>{_e(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells("th", heads)}</tr></thead><tbody>{body}</tbody></table></div>'


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{_breakable(name)}</th><td>{_breakable(value)}</td></tr>" for name, value in facts.items())
    return f'<table class="facts"><tbody>{rows}</tbody></table>' if rows else ""


def _breakable(text: Any) -> str:
    """Text that may go on in a new line after an underscore, a comma or an equals sign."""
    return re.sub(r"([_,=])", r"\1<wbr>", _e(text))


def architecture_of(model: Any) -> str:
    """The layers of a model as a table and as a graph.

    Args:
        model: the model; of one that is not built nothing is told.
    """
    if not model.built:
        return ""
    parts = list(getattr(model, "_operations", None) or model.layers)
    rows, flops = [], 0
    for part in parts[:_LAYERS]:
        cost = cost_of(part, model)
        flops += cost.flops or 0
        count = sum(weight.numel() for weight in getattr(part, "weights", ()))
        told = ["?" if value is None else f"{value:,}" for value in (count, cost.flops, cost.outputs)]
        label = getattr(part, "label", None)
        rows.append([part.name, label if isinstance(label, str) else type(part).__name__, _shapes(part), *told])
    table = _table(["layer", "type", "output", "weights", "FLOPs", "output bytes"], rows, numbers=3)
    trainable = sum(weight.numel() for weight in model.trainable_weights)
    more = f" The first {_LAYERS} of {len(parts)} layers are shown." if len(parts) > _LAYERS else ""
    note = f"{trainable:,} trainable weights, {flops:,} FLOPs for one sample.{more}"
    drawing = ""
    if len(parts) <= _LAYERS:
        svg = model_svg(model, Shown(shapes=True, activations=True), standalone=False)
        begin = "<details open>" if len(parts) <= 12 else "<details>"
        drawing = f'{begin}<summary>Graph</summary><div class="tall">{svg}</div></details>'
    return f'<p class="soft">{_e(note)}</p>{table}{drawing}'


def _shapes(part: Any) -> str:
    try:
        return str(part.output.shape)
    except (LaminaError, AttributeError, ValueError):
        return "?"


def _of_samples(model: Any, x: Any, y: Any, names: Sequence[str] | None) -> Iterator[tuple[str, str, str]]:
    """The sections about predictions."""
    if model is None or x is None:
        return
    try:
        found = gather(model, x, y)
        if found is not None and found.kind == "classes":
            yield "confusion", "Confusion matrix", _confusion(found, names)
        if found is not None:
            yield "samples", "Samples", _samples(found, names)
    except (LaminaError, RuntimeError, TypeError, ValueError, IndexError) as error:
        # The training is done; that its data cannot be shown is no reason to lose the page.
        yield "samples", "Samples", f'<p class="soft">These data could not be shown.</p><pre>{_e(error)}</pre>'


def _name(place: int, names: Sequence[str] | None) -> str:
    return str(names[place]) if names is not None and place < len(names) else str(place)


def _confusion(found: Evidence, names: Sequence[str] | None) -> str:
    truth, told = decided(found)
    width = found.told.shape[1] if found.told.ndim == 2 else 2
    matrix = confusion(truth, told, max(width, 2))
    note = f"{np.trace(matrix) / matrix.sum():.1%} of {matrix.sum():,} right. Rows are true classes, columns predicted."
    if len(matrix) > _CLASSES:
        off = matrix - np.diag(np.diag(matrix))
        worst = np.argsort(-off, axis=None, kind="stable")[:_CLASSES]
        pairs = [divmod(int(place), len(matrix)) for place in worst if off.flat[place]]
        rows = [[_name(row, names), _name(column, names), off[row, column]] for row, column in pairs]
        return f'<p class="soft">{_e(note)}</p>{_table(["true", "taken for", "times"], rows, 1)}'
    told = [_name(i, names) for i in range(len(matrix))]
    kind = ' class="long"' if max(map(len, told)) > 3 else ""
    heads = "".join(f'<th scope="col"{kind}>{_e(name)}</th>' for name in told)
    rows = ""
    for i, row in enumerate(matrix):
        shares = 85 * row / max(row.sum(), 1)
        cells = "".join(_matrix_cell(n, s) for n, s in zip(row.tolist(), shares, strict=True))
        rows += f'<tr><th scope="row">{_e(told[i])}</th>{cells}</tr>'
    table = f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody>"
    return f'<p class="soft">{_e(note)}</p><div class="wide"><table class="matrix">{table}</table></div>'


def _matrix_cell(times: int, share: float) -> str:
    kind = "" if times and share <= 45 else f' class="{"most" if times else "none"}"'
    return f'<td{kind} style="--share:{share:.0f}%">{times}</td>'


def _samples(found: Evidence, names: Sequence[str] | None) -> str:
    count = min(_SHOWN, len(found.x))
    places = np.arange(count)
    captions, right = [""] * len(found.x), np.ones(len(found.x), bool)
    chart = ""
    if found.kind == "classes":
        truth, told = decided(found)
        right = truth == told
        wrong = np.flatnonzero(~right)[: max(count // 2, count - int(right.sum()))]
        places = np.concatenate([wrong, np.flatnonzero(right)])[:count]
        captions = [
            f"✓ {_name(b, names)}" if a == b else f"✗ {_name(b, names)} (is {_name(a, names)})"
            for a, b in zip(truth.tolist(), told.tolist(), strict=True)
        ]
    elif found.kind == "numbers":
        truth, told = found.truth.reshape(-1).astype(float), found.told.reshape(-1).astype(float)
        captions = [f"{a:.4g} (is {b:.4g})" for a, b in zip(told, truth, strict=True)]
        points = points_svg(truth.tolist(), told.tolist())
        chart = f'<div class="charts"><div><h3>predicted by true value</h3>{points}</div></div>'
    if is_images(found.x):
        low, high = float(np.nanmin(found.x)), float(np.nanmax(found.x))
        shown = "".join(_figure(found.x[i], captions[i], bool(right[i]), low, high) for i in places)
        return f'{chart}<div class="samples">{shown}</div>'
    flat = found.x.reshape(len(found.x), -1)
    columns = min(flat.shape[1], 6)
    heads = [*(f"x{i}" for i in range(columns)), *(["…"] * (flat.shape[1] > columns)), "prediction"]
    rows = []
    for i in places[:12]:
        told = captions[i] or ", ".join(map(_number, found.told[i].reshape(-1)[:6]))
        rows.append([*map(_number, flat[i, :columns]), *([""] * (flat.shape[1] > columns)), told])
    return chart + _table(heads, rows, len(heads))


def _figure(image: np.ndarray, caption: str, right: bool, low: float, high: float) -> str:
    kind = "right" if right else "wrong"
    label = _e(caption or "sample")
    shown = f'<img alt="{label}" src="{picture(image, low, high)}">'
    return f'<figure class="{kind}">{shown}<figcaption class="{kind}">{_e(caption)}</figcaption></figure>'


def _execution(model: Any) -> str:
    if getattr(model, "execution_report", None) is None or model.optimizer is None:
        return ""
    return _facts({kind: _run(step) for kind, step in model.execution_report().steps.items()})


def _run(step: Any) -> str:
    times = (("eager", step.eager_ms), ("compiled", step.compiled_ms))
    return " · ".join([step.runs, step.why, *(f"{name} {took:.3f} ms" for name, took in times if took is not None)])


def _compile(model: Any) -> str:
    given = getattr(getattr(model, "_compiled", None), "given", None)
    if not given:
        return ""
    kept = {name: value for name, value in given.items() if value is not None}
    return _facts({name: _argument(value) for name, value in {**kept, "optimizer": model.optimizer}.items()})


def _argument(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_argument, value))
    if isinstance(value, Mapping):
        value = value.get("config", value)
        return ", ".join(f"{name}: {_argument(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (str, int)):
        return str(value)
    try:
        config = value.get_config()
        told = ", ".join(
            f"{name}={_argument(one)}" for name, one in config.items() if one is not None and name != "name"
        )
    except (LaminaError, AttributeError, NotImplementedError, TypeError):
        return getattr(value, "__name__", None) or type(value).__name__
    return f"{type(value).__name__}({told})"


def _environment() -> dict[str, Any]:
    facts = {
        "lamina": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": f"{os.cpu_count()}, {torch.get_num_threads()} threads used",
    }
    if torch.cuda.is_available():
        facts["GPU"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return facts
