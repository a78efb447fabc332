"""Feed the readers of files with damaged ones: only lamina's own errors may come, soon, and with little memory.

    python tools/fuzz_reader.py --inputs 1000000            mutates small files in memory
    python tools/fuzz_reader.py --atheris --inputs 1000000  lets coverage guide it, where atheris is installed

Every input goes through the reader of its kind: .keras archives, HDF5 weights and old models, safetensors files, JSON
configs, checkpoints of runs, which are also resumed. What is read is read whole. An input that ends otherwise is kept
in --out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

atheris: Any = importlib.import_module("atheris") if "--atheris" in sys.argv else None
# What is imported within it tells atheris which of its lines run.
TRACED = ["lamina.saving", "lamina.core", "lamina.training.whole_state", "lamina.training.torch_state"]
tracing = atheris.instrument_imports(include=TRACED) if atheris else contextlib.nullcontext()

with tracing:
    import lamina
    from lamina.core.errors import LaminaError
    from lamina.core.forms import check
    from lamina.core.limits import Limits
    from lamina.saving.archive import CONFIG, METADATA, open_archive, parse_json
    from lamina.saving.checkpoint import ARRAYS, STATE, Checkpoints, Snapshot, read_checkpoint
    from lamina.saving.hdf5 import WeightsReader
    from lamina.saving.models import open_weights
    from lamina.saving.safetensors import SafetensorsReader
    from lamina.training import trainer
    from lamina.training.resume import RUN, Run

SECONDS, MEMORY = 5, 256 << 20
LIMITS = Limits(floor=4 << 20, memory=8 << 20, steps=20_000, objects=1000, json_bytes=1 << 20)
_NUMBERS = [0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 65535, 1 << 20, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
_WORDS = [
    b"null",
    b"-1",
    b"1e400",
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"99999999999",
    b"..",
    b"/",
    b"\0",
    b"__lambda__",
    b"\xff",
]


def read_hdf5(content: bytes) -> None:
    """Weights, and the config of an old model."""
    with WeightsReader(io.BytesIO(content), "fuzzed", LIMITS) as reader:
        _read_all(reader)
        for name in ("model_config", "layer_names"):
            for path in list(reader.groups)[:4]:
                reader.attributes(path, name)


def read_safetensors(content: bytes) -> None:
    """Tensors."""
    _read_all(SafetensorsReader(io.BytesIO(content), "fuzzed", LIMITS))


def read_archive(content: bytes) -> None:
    """A .keras file, its model not made."""
    with open_archive(io.BytesIO(content), LIMITS) as archive, contextlib.ExitStack() as stack:
        parse_json(archive.text(CONFIG), CONFIG, LIMITS)
        parse_json(archive.text(METADATA), METADATA, LIMITS)
        with tempfile.TemporaryDirectory() as folder:
            archive.extract_assets(Path(folder))
        _read_all(open_weights(archive, "fuzzed", stack, LIMITS))


def read_model(content: bytes) -> None:
    """A .keras file, its model made."""
    lamina.saving.load_model(io.BytesIO(content), limits=LIMITS)


def read_config(content: bytes) -> None:
    """A JSON config, its model made."""
    config = parse_json(content.decode("utf-8", "replace"), "fuzzed", LIMITS)
    lamina.saving.deserialize_keras_object(config, limits=LIMITS)


def read_run(content: bytes) -> None:
    """A checkpoint of a run that can be resumed."""
    read_checkpoint(io.BytesIO(content), LIMITS)


class Resumer:
    """Has a run, into which it takes up checkpoints whose text is damaged; what passes the reader must be taken up.

    Args:
        optimizer: of the model that is trained.
    """

    def __init__(self, optimizer: Any) -> None:
        model = lamina.Sequential([lamina.layers.Input((4,)), lamina.layers.Dropout(0.5), lamina.layers.Dense(1)])
        model.compile(optimizer(model), "mse", metrics=["mae"])
        stopping = lamina.callbacks.EarlyStopping("loss", restore_best_weights=True)
        self.run: Any = None
        x, own = np.ones((8, 4), "float32"), self

        class Kept(Run):
            def begin(self, epoch: int) -> Any:
                own.run = self
                return super().begin(epoch)

        with tempfile.TemporaryDirectory() as folder:
            trainer.Run, usual = Kept, trainer.Run
            try:
                options: dict[str, Any] = {"batch_size": 2, "epochs": 2, "verbose": 0, "callbacks": [stopping]}
                model.fit(x, x[:, :1], resume=folder, checkpoint_every=1, **options)
            finally:
                trainer.Run = usual
            path = Checkpoints(folder).paths()[0]
            with zipfile.ZipFile(path) as archive:
                self.text, self.arrays = archive.read(STATE), archive.read(ARRAYS)

    def __call__(self, content: bytes) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(STATE, content)
            archive.writestr(ARRAYS, self.arrays)
        found = read_checkpoint(buffer, LIMITS)
        check(found, RUN, "fuzzed")
        self.run._found = found
        self.run.begin(0)


@functools.cache
def _resumer(optimizer: str) -> Resumer:
    classes = {"lamina": lambda model: "adam", "torch": lambda model: torch.optim.AdamW(model.parameters())}
    return Resumer(classes[optimizer])


def resume_run(content: bytes) -> None:
    """The text of a checkpoint, of a run with an optimizer of lamina."""
    _resumer("lamina")(content)


def resume_torch_run(content: bytes) -> None:
    """The text of a checkpoint, of a run with an optimizer of torch."""
    _resumer("torch")(content)


MAKING = (read_model, read_config)


def _read_all(reader: Any) -> None:
    total = 0
    for path in reader.paths():
        for value in reader.entries(path).values():
            total += value.nbytes
    assert total <= LIMITS.floor + 101 * (16 << 20), f"{total} bytes were read"


def seeds() -> list[tuple[Callable[[bytes], None], bytes]]:
    """Small files of every kind, with the reader of each."""
    import h5py

    layers = lamina.layers
    x = layers.Input((4,))
    y = layers.BatchNormalization()(layers.Dense(3, activation="relu", kernel_regularizer="l2")(x))
    first = lamina.Model(x, lamina.ops.mean(layers.Concatenate()([x, y]) * 2.0, axis=-1))
    second = lamina.Sequential([layers.Input((6,)), layers.Embedding(5, 2), layers.LSTM(2), layers.Dense(1)])
    second.compile("adam", "mse", metrics=["mae"])
    space = lamina.utils.FeatureSpace
    third = space(
        {"a": space.float_normalized(), "b": "string_categorical", "c": space.integer_hashed(3)}, crosses=[("b", "c")]
    )
    third.adapt({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, 2]})
    found: list[tuple[Callable[[bytes], None], bytes]] = [
        (resume_run, _resumer("lamina").text),
        (resume_torch_run, _resumer("torch").text),
        (read_config, json.dumps(lamina.saving.serialize_keras_object(third)).encode()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for index, model in enumerate((first, second)):
            for ending, reader in (
                (".keras", read_archive),
                (".weights.h5", read_hdf5),
                (".safetensors", read_safetensors),
            ):
                path = Path(folder, f"{index}{ending}")
                (model.save if ending == ".keras" else model.save_weights)(path)
                found.append((reader, path.read_bytes()))
            found.append((read_config, model.to_json().encode()))
            found.append((read_model, _small_archive(Path(folder, f"{index}.keras"))))
        third.save(Path(folder, "2.keras"))
        found.append((read_archive, Path(folder, "2.keras").read_bytes()))
        found.append((read_model, _small_archive(Path(folder, "2.keras"))))
        second.save(Path(folder, "old.h5"))
        found.append((read_hdf5, Path(folder, "old.h5").read_bytes()))
        state = {"epoch": 3, "weights": [w.detach() for w in second.weights], "shape": (1, 2), "seeds": np.arange(9)}
        Snapshot(state).write(Path(folder, "run"))
        found.append((read_run, Path(folder, "run").read_bytes()))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        options = {"chunks": (4, 4), "compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("vars/0", data=np.arange(64.0).reshape(8, 8), **options)
        file["vars/1"] = np.array([True, False])
        file["vars/2"] = np.array([1 + 2j], "c8")
        file.attrs["layer_names"] = ["a", "b"]
    found.append((read_hdf5, buffer.getvalue()))
    return found


def _small_archive(path: Path) -> bytes:
    """The same archive, packed, so that its text is damaged as a whole less often than its structure."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def mutated(content: bytes, luck: random.Random) -> bytes:
    """A file with a few changes: bytes, numbers, words, pieces moved, doubled or cut out."""
    data = bytearray(content)
    for _ in range(luck.choice((1, 1, 1, 2, 3, 5, 9))):
        if not data:
            break
        at, kind = luck.randrange(len(data)), luck.randrange(8)
        if kind == 0:
            data[at] ^= 1 << luck.randrange(8)
        elif kind == 1:
            data[at] = luck.randrange(256)
        elif kind == 2:
            form = luck.choice("<B <H <I <Q".split())
            size = struct.calcsize(form)
            data[at : at + size] = struct.pack(form, luck.choice(_NUMBERS) & (256**size - 1))
        elif kind == 3:
            data[at:at] = luck.choice(_WORDS)
        elif kind == 4:
            del data[at : at + luck.choice((1, 2, 8, 64))]
        elif kind == 5:
            piece = data[at : at + luck.choice((1, 8, 24, 40, 200))]
            start = luck.randrange(len(data))
            data[start : start + len(piece) * luck.randrange(2)] = piece
        elif kind == 6:
            del data[at : len(data) if luck.random() < 0.2 else at + 1]
        else:
            end = at
            while end < len(data) and chr(data[end]).isdigit():
                end += 1
            data[at : max(end, at + 1)] = str(luck.choice(_NUMBERS)).encode()
    return bytes(data)


class Fuzzer:
    """Runs inputs, counts what comes of them, and keeps those that end in anything but lamina's own errors.

    Args:
        out: the folder for inputs that fail.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.outcomes = out, Counter()
        self.failures: Counter[str] = Counter()
        self.slowest = 0.0
        self.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # The time of the processor counts: a machine that others share may let an input wait.
        signal.signal(signal.SIGPROF, self._late)

    def _late(self, *_: Any) -> None:
        raise TimeoutError(f"no answer after {SECONDS} seconds")

    def run(self, reader: Callable[[bytes], None], content: bytes) -> None:
        """One input."""
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            reader(content)
            self.outcomes[f"{reader.__name__}: read"] += 1
        except LaminaError:
            self.outcomes[f"{reader.__name__}: refused"] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            frames = traceback.extract_tb(error.__traceback__)
            place = next((f for f in reversed(frames) if "/lamina/" in f.filename), frames[-1])
            self._keep(reader, content, f"{type(error).__name__} in {place.filename}:{place.lineno}: {str(error)[:80]}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.slowest = max(self.slowest, time.process_time() - began)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (peak - self.memory) << 10 > MEMORY:
            self._keep(reader, content, f"memory grew by {(peak - self.memory) >> 10} MB")
            self.memory = peak

    def _keep(self, reader: Callable[[bytes], None], content: bytes, what: str) -> None:
        key = f"{reader.__name__}: {what}"
        self.failures[key] += 1
        if self.failures[key] == 1:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / f"{reader.__name__}-{len(self.failures)}").write_bytes(content)
            print(f"FAILED {key}", flush=True)

    def report(self, count: int, seconds: float) -> str:
        """The figures of a run as JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures = {"inputs": count, "seconds": round(seconds), "slowest": round(self.slowest, 2), "peak_mb": peak >> 10}
        return json.dumps({**figures, "outcomes": self.outcomes, "failures": self.failures}, indent=1)


def main() -> int:
    """Run; 1 if an input ended in anything but lamina's own errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir(), "lamina-fuzz"))
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--models", type=float, default=0.02, help="share of inputs whose model is made, which is slow")
    asked = parser.parse_args()
    fuzzer, corpus = Fuzzer(asked.out), seeds()
    for reader, content in corpus:
        reader(content)
    # What torch imports when shapes cannot be found in the usual way takes longer than an input may.
    importlib.import_module("torch._inductor.standalone_compile")
    began = time.perf_counter()
    if asked.atheris:
        return _guided(fuzzer, corpus, asked)
    luck = random.Random(asked.seed)
    making = [pair for pair in corpus if pair[0] in MAKING]
    reading = [pair for pair in corpus if pair not in making]
    for count in range(1, asked.inputs + 1):
        reader, content = luck.choice(making if luck.random() < asked.models else reading)
        fuzzer.run(reader, mutated(content, luck))
        if count % 50_000 == 0:
            print(f"{count} inputs, {count / (time.perf_counter() - began):.0f} a second", flush=True)
    print(fuzzer.report(asked.inputs, time.perf_counter() - began))
    return int(bool(fuzzer.failures))


def _guided(fuzzer: Fuzzer, corpus: list[tuple[Callable[[bytes], None], bytes]], asked: argparse.Namespace) -> int:
    """Inputs found by coverage of lamina's files; the first byte says which reader. It ends the process by itself."""
    readers = list(dict.fromkeys(reader for reader, _ in corpus if asked.models or reader not in MAKING))
    began, done = time.perf_counter(), 0

    def one(content: bytes) -> None:
        nonlocal done
        done += 1
        if content:
            fuzzer.run(readers[content[0] % len(readers)], content[1:])
        if done % 50_000 == 0 or done >= asked.inputs:
            print(fuzzer.report(done, time.perf_counter() - began), flush=True)

    folder = tempfile.mkdtemp()
    for index, (reader, content) in enumerate(corpus):
        if reader in readers:
            Path(folder, str(index)).write_bytes(bytes([readers.index(reader)]) + content)
    options = ["-max_len=65536", "-timeout=60", "-rss_limit_mb=4096", f"-seed={asked.seed + 1}"]
    atheris.Setup([sys.argv[0], f"-runs={asked.inputs}", *options, folder], one)
    atheris.Fuzz()
    return int(bool(fuzzer.failures))


if __name__ == "__main__":
    raise SystemExit(main())
