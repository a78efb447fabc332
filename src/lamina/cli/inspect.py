"""`lamina inspect`: what is in a file of a model or of weights, told without making any of it."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core.errors import LaminaError
from lamina.core.limits import DEFAULT, Limits
from lamina.core.registry import find_builtin, find_custom
from lamina.core.serialization import count_objects
from lamina.saving.archive import CONFIG, METADATA, FolderArchive, open_archive, parse_json
from lamina.saving.files import open_file
from lamina.saving.hdf5 import Stored, WeightsReader
from lamina.saving.models import open_weights
from lamina.saving.safetensors import SafetensorsReader
from lamina.saving.shards import ShardedReader

_OURS = ("keras.", "lamina.", "tf_keras.", "tensorflow.keras.", "tensorflow.python.keras.")
# Settings that tell layers apart at a glance.
_TELLING = (
    "units filters kernel_size pool_size strides rate axis input_dim output_dim num_heads key_dim target_shape "
    "batch_shape activation function"
).split()
_SHOWN = 200
_SIZES = ("B", "KB", "MB", "GB", "TB")


def inspect_file(path: Path, limits: Limits = DEFAULT) -> tuple[str, bool]:
    """What is in a file, and whether it looks as it should.

    Args:
        path: a .keras file, a folder saved with `zipped=False`, or a .h5, .weights.h5, .weights.json, .safetensors or
            .json file.
        limits: bounds on what it may hold.

    Returns:
        A text of several lines that ends in a verdict, and whether that is good.
    """
    lines: list[str] = [f"{path}"]
    findings: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            lines += _report(path, limits, stack, findings)
    except LaminaError as error:
        findings.append(str(error).replace("\n", "\n    "))
    lines += ["", "Verdict: nothing suspicious." if not findings else "Verdict: do not trust this file."]
    lines += [f"  - {finding}" for finding in findings]
    return "\n".join(line.rstrip() for line in lines), not findings


def _report(path: Path, limits: Limits, stack: contextlib.ExitStack, findings: list[str]) -> Iterator[str]:
    if path.is_dir() or path.suffix == ".keras":
        archive = stack.enter_context(open_archive(path, limits))
        yield f"  a whole model, {'a folder' if isinstance(archive, FolderArchive) else _size(path.stat().st_size)}"
        if archive.has(METADATA):
            yield from _metadata(parse_json(archive.text(METADATA), METADATA, limits))
        yield from _architecture(parse_json(archive.text(CONFIG), CONFIG, limits), limits, findings)
        yield from _weights(open_weights(archive, str(path), stack, limits))
        return
    file = stack.enter_context(open_file(path))
    yield f"  {_size(path.stat().st_size)}"
    if path.name.endswith(".weights.json"):
        yield from _weights(ShardedReader(path, stack, limits))
    elif path.suffix == ".json":
        text = file.read(limits.json_bytes + 1).decode("utf-8", "replace")
        yield from _architecture(parse_json(text, str(path), limits), limits, findings)
    elif path.suffix == ".safetensors":
        tensors = SafetensorsReader(file, str(path), limits)
        yield from _metadata(tensors.metadata)
        yield from _weights(tensors)
    else:
        reader = WeightsReader(file, str(path), limits)
        for name in ("keras_version", "backend"):
            yield from (f"  {name}: {_clean(word)}" for word in reader.attributes("", name)[:1])
        for text in reader.attributes("", "model_config")[:1]:
            yield from _architecture(parse_json(text, "model_config", limits), limits, findings)
        yield from _weights(reader)


def _metadata(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        yield f"  {key}: {_clean(value)}"


def _architecture(config: Mapping[str, Any], limits: Limits, findings: list[str]) -> Iterator[str]:
    """The layers by name, class and settings; what is odd goes to the findings."""
    yield ""
    yield "Architecture"
    if count_objects(config, limits.objects) > limits.objects:
        findings.append(f"the config holds more than {limits.objects} objects")
        return
    rows = list(itertools.islice(_layers(config, 0), 10 * _SHOWN))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for row in rows[:_SHOWN]:
        yield f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"
    if len(rows) > _SHOWN:
        yield f"  ... and {len(rows) - _SHOWN} more"
    findings += dict.fromkeys(itertools.islice(_odd(config, ""), _SHOWN))


def _layers(entry: Any, depth: int) -> Iterator[tuple[str, str, str]]:
    if not isinstance(entry, Mapping) or "class_name" not in entry or depth > 20:
        return
    config = entry.get("config")
    settings = config if isinstance(config, Mapping) else {"layers": config}
    told = [f"{key}={_short(settings[key])}" for key in _TELLING if settings.get(key) not in (None, "linear")]
    yield (
        "  " * depth + _clean(settings.get("name") or entry.get("name") or "?"),
        _clean(entry["class_name"]),
        ", ".join(told),
    )
    inside = settings.get("layers")
    for inner in inside if isinstance(inside, list) else []:
        yield from _layers(inner, depth + 1)
    for key in ("layer", "forward_layer"):
        yield from _layers(settings.get(key), depth + 1)


def _odd(value: Any, place: str) -> Iterator[str]:
    """What in a config would be refused, or is made of classes that are not lamina's."""
    stack: list[tuple[Any, str]] = [(value, place)]
    while stack:
        value, place = stack.pop()
        if isinstance(value, list):
            stack += [(item, place) for item in value]
        if not isinstance(value, Mapping):
            continue
        stack += [(item, f"{place}/{_clean(key)}"[-200:]) for key, item in value.items()]
        name, module = value.get("class_name"), str(value.get("module") or "")
        if name == "__lambda__":
            yield f"{place}: Python code, which is never loaded"
        elif "config" in value and isinstance(name, str) and not name.startswith("__"):
            wanted = str(value["config"]) if name == "function" else name
            registered = value.get("registered_name")
            ours = module.startswith(_OURS) or module in ("", "keras", "lamina", "torch", "builtins")
            custom = registered if isinstance(registered, str) and registered != "function" else None
            if not ours and find_builtin(module, wanted) is None and find_custom(custom, wanted) is None:
                yield f"{place}: {_clean(wanted)} of module {_clean(module)}, which has to be registered or given"
        if isinstance(value.get("vocabulary"), str):
            yield f"{place}: a vocabulary named by a path, {_clean(value['vocabulary'])}"


def _weights(source: Any) -> Iterator[str]:
    groups = {path: dict(source.entries(path).stored) for path in source.paths()}
    if isinstance(source, WeightsReader):
        known = {f"{path}/vars" if path else "vars" for path in groups}
        groups |= {path: held for path, held in source.groups.items() if held and path not in known}
    stored: list[tuple[str, Stored]] = [
        (f"{path}/{key}" if path else key, entry) for path, entries in groups.items() for key, entry in entries.items()
    ]
    count = sum(math.prod(entry.shape) for _, entry in stored)
    yield ""
    yield f"Weights: {count:,} numbers in {len(stored)} arrays, {_size(source.nbytes)}"
    width = max((len(_clean(place)) for place, _ in stored[:_SHOWN]), default=0)
    for place, entry in stored[:_SHOWN]:
        yield f"  {_clean(place):<{width}}  {entry.dtype:<8}  {' x '.join(map(str, entry.shape)) or 'scalar'}"
    if len(stored) > _SHOWN:
        yield f"  ... and {len(stored) - _SHOWN} more"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("class_name") if not isinstance(value.get("config"), str) else value["config"]
    return _clean(value)


def _clean(value: Any) -> str:
    """A value of the file as text without characters that could steer a terminal, cut to a line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value)[:120])
    return text if len(str(value)) <= 120 else f"{text}..."


def _size(count: int) -> str:
    step = min(int(np.log(max(count, 1)) / np.log(1024)), len(_SIZES) - 1)
    return f"{count / 1024**step:.{int(step > 0)}f} {_SIZES[step]}"
