"""Results, weights and profiles as event files for TensorBoard."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.callbacks.base import Callback
from lamina.callbacks.learning_rate import learning_rates
from lamina.core.config import image_data_format
from lamina.core.errors import ArgumentError, MissingPackageError, check_number, check_type, listing, nearest, warn_once
from lamina.core.tensors import convert_to_numpy
from lamina.layers import Embedding

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin")


class TensorBoard(Callback):
    """Writes event files into `log_dir/train` and `log_dir/validation`, under the names that Keras gives them.

    Scalars are `epoch_NAME` by epoch, `batch_NAME` by batch counted from 1, and `evaluation_NAME_vs_iterations` by
    updates. With `update_freq="epoch"` and no profile it costs nothing between epochs; with a number, results are
    fetched from the device at those batches only. Look at them with `tensorboard --logdir LOG_DIR`.

    Args:
        log_dir: the folder.
        histogram_freq: every so many epochs, histograms of all weights are written; 0 for never.
        write_graph: whether the graph of the layers is written, for functional and sequential models.
        write_images: whether weights are also written as pictures, when histograms are.
        write_steps_per_second: whether the speed is written.
        update_freq: "epoch", "batch", or a number of batches after which results are written too.
        profile_batch: the batch, or the first and the last, to profile with torch.profiler; counted from 1 over the
            whole of fit. 0 for none. The trace is written into `log_dir/train` and can be opened in Perfetto, too.
        embeddings_freq: every so many epochs, tables of `Embedding` layers are written for the projector; 0 for never.
        embeddings_metadata: the file with the labels of rows, or a dict of such by the layers' names.

    Raises:
        ArgumentError: `profile_batch` is no range, or `embeddings_metadata` names a layer there is not.
        MissingPackageError: tensorboard is not installed.

    Example:
        >>> TensorBoard("logs", update_freq=100).update_freq
        100

    Source: https://keras.io/api/callbacks/tensorboard/
    """

    keeps_logs = False
    kept = ("_global_train_batch", "_global_test_batch")

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | str = "epoch",
        profile_batch: int | str | Sequence[int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: str | Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        check_type(log_dir, (str, os.PathLike), "TensorBoard(log_dir=...)", "a path")
        check_number(histogram_freq, "TensorBoard(histogram_freq=...)", least=0)
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.embeddings_freq = embeddings_freq
        self.embeddings_metadata = embeddings_metadata
        self._start_batch, self._stop_batch = _batches(profile_batch)
        self._global_train_batch = self._global_test_batch = 0
        self._profiler: Any = None
        self._writers: dict[str, Any] = {}
        if self.update_freq == "epoch" and not self._start_batch:
            self.idle_hooks = frozenset(
                name for name in _BATCH_HOOKS if getattr(type(self), name) is getattr(TensorBoard, name)
            )

    def set_model(self, model: Any) -> None:
        """Receive the model, and write what is known of it."""
        super().set_model(model)
        self._train_dir = os.path.join(self.log_dir, "train")
        self._val_dir = os.path.join(self.log_dir, "validation")
        self._close()
        if self.write_graph and {"Functional", "Sequential"} & {kind.__name__ for kind in type(self.model).__mro__}:
            self._write_graph()
        if self.embeddings_freq:
            self._configure_embeddings()

    @property
    def _train_writer(self) -> Any:
        return self._writer(self._train_dir)

    @property
    def _val_writer(self) -> Any:
        return self._writer(self._val_dir)

    @property
    def summary(self) -> Any:
        """The writer of training, a torch SummaryWriter, for summaries of your own."""
        return self._train_writer

    def _writer(self, folder: str) -> Any:
        if folder not in self._writers:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingPackageError(
                    "Event files need tensorboard.", where="TensorBoard", fix="pip install 'lamina[tensorboard]'"
                ) from error
            self._writers[folder] = SummaryWriter(folder)
        return self._writers[folder]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count batches from the start."""
        self._global_train_batch = 0

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write what is left."""
        self._stop_profiler()
        self._close()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the results of an evaluation by the number of updates so far."""
        iterations = getattr(self.model.optimizer, "iterations", None)
        if iterations is not None:
            for name, value in (logs or {}).items():
                self._val_writer.add_scalar(f"evaluation_{name}_vs_iterations", value, int(iterations))
            self._val_writer.flush()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count, and start to profile if it is time."""
        self._global_train_batch += 1
        self._batch_start_time = time.perf_counter()
        if self._global_train_batch == self._start_batch:
            self._start_profiler()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the results if it is time."""
        step = self._global_train_batch
        if isinstance(self.update_freq, int) and step % self.update_freq == 0:
            if self.write_steps_per_second:
                seconds = time.perf_counter() - self._batch_start_time
                self._train_writer.add_scalar("batch_steps_per_second", 1 / seconds, step)
            for name, value in (logs or {}).items():
                self._train_writer.add_scalar(f"batch_{name}", value, step)
        if self._profiler is not None and step >= self._stop_batch:
            self._stop_profiler()

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count."""
        self._global_test_batch += 1

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the clock."""
        if self.write_steps_per_second:
            self._epoch_start = time.perf_counter(), int(self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the results of the epoch, and of the weights what is due."""
        if logs:
            self._write_results(epoch, logs)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings(epoch)

    def _write_results(self, epoch: int, logs: Mapping[str, Any]) -> None:
        results = {**logs, **learning_rates(self.model)}
        if self.write_steps_per_second:
            start, before = self._epoch_start
            steps = int(self.model.optimizer.iterations) - before
            results["steps_per_second"] = steps / (time.perf_counter() - start)
        for name, value in results.items():
            writer = self._val_writer if name.startswith("val_") else self._train_writer
            writer.add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)

    def _write_graph(self) -> None:
        """The model as JSON, of which TensorBoard draws the layers."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.util.tensor_util import make_tensor_proto

        try:
            text = self.model.to_json()
        except (TypeError, ValueError) as error:
            warnings.warn(f"TensorBoard: the model cannot be written as JSON: {error}", stacklevel=3)
            return
        messages: Any = summary_pb2  # made at run time, from a description
        plugin = messages.SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")
        value = messages.Summary.Value(
            tag="keras", tensor=make_tensor_proto(text), metadata=messages.SummaryMetadata(plugin_data=plugin)
        )
        self._train_writer._get_file_writer().add_summary(messages.Summary(value=[value]), 0)
        self._train_writer.flush()

    def _write_weights(self, epoch: int) -> None:
        for layer in self.model.layers:
            for index, weight in enumerate(layer.weights):
                name = getattr(weight, "path", f"{layer.name}/{index}").replace(":", "_")
                values = convert_to_numpy(weight)
                self._train_writer.add_histogram(f"{name}/histogram", values, epoch)
                picture = _picture(values) if self.write_images else None
                if picture is not None:
                    self._train_writer.add_images(f"{name}/image", picture, epoch, dataformats="NHWC")
        self._train_writer.flush()

    def _embeddings(self) -> list[Embedding]:
        return [layer for layer in self.model.layers if isinstance(layer, Embedding)]

    def _configure_embeddings(self) -> None:
        """The projector's table of contents, in the text form of its protocol buffer."""
        metadata = self.embeddings_metadata
        names = [layer.name for layer in self._embeddings()]
        unknown = [name for name in metadata if name not in names] if isinstance(metadata, Mapping) else []
        if unknown:
            raise ArgumentError(
                f"There is no Embedding layer of this name.{nearest(unknown[0], names)}",
                where="TensorBoard(embeddings_metadata=...)",
                expected=", ".join(names) or "no metadata: the model has no Embedding layers",
                received=listing(unknown),
            )
        lines: list[str] = []
        for name in names:
            labels = metadata if isinstance(metadata, str) else (metadata or {}).get(name)
            fields = {"tensor_name": f"{name}/embeddings", "metadata_path": labels, "tensor_path": f"{name}.tsv"}
            inner = [f"  {key}: {json.dumps(value)}\n" for key, value in fields.items() if value]
            lines += ["embeddings {\n", *inner, "}\n"]
        path = Path(self.log_dir, "projector_config.pbtxt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")

    def _write_embeddings(self, epoch: int) -> None:
        """The tables as text, which the projector reads, and all weights as they are now."""
        for layer in self._embeddings():
            np.savetxt(Path(self.log_dir, f"{layer.name}.tsv"), convert_to_numpy(layer.embeddings), "%.6g", "\t")
        Path(self._train_dir).mkdir(parents=True, exist_ok=True)
        self.model.save_weights(os.path.join(self._train_dir, f"keras_embedding.ckpt-{epoch}.weights.h5"))

    def _start_profiler(self) -> None:
        os.makedirs(self._train_dir, exist_ok=True)
        self._profiler = torch.profiler.profile(
            on_trace_ready=torch.profiler.tensorboard_trace_handler(self._train_dir)
        )
        try:
            self._profiler.start()
        except RuntimeError as error:  # such as another profiler that is running
            self._profiler = None
            warn_once(f"TensorBoard: the profiler could not be started: {error}")

    def _stop_profiler(self) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None


def _batches(given: Any) -> tuple[int, int]:
    """The first and the last batch to profile; 0 and 0 for none."""
    try:
        numbers = [int(part) for part in given.split(",")] if isinstance(given, str) else given
        first, last = (numbers, numbers) if isinstance(numbers, int) else numbers * (3 - len(numbers))
    except (TypeError, ValueError):
        first, last = -1, -1
    if first < 0 or last < first:
        raise ArgumentError(
            "profile_batch is not usable.",
            where="TensorBoard(profile_batch=...)",
            expected="0, the number of a batch, or the numbers of the first and the last",
            received=repr(given),
        )
    return first, last


def _picture(weight: np.ndarray) -> np.ndarray | None:
    """A weight as grey pictures (count, height, width, 1), its least value black; None if it has another form."""
    values = weight.squeeze()
    if values.ndim == 1:
        values = values[None, :, None]
    elif values.ndim == 2:
        values = (values.T if values.shape[0] > values.shape[1] else values)[None]
    elif values.ndim == 3 and image_data_format() == "channels_last":
        values = values.transpose(2, 0, 1)
    if values.ndim != 3 or not np.isfinite(values).all():
        return None
    span = np.ptp(values) or 1
    return ((values - values.min()) / span * 255).astype("uint8")[..., None]
