"""The first thing to run: does lamina import fast, compute, and learn? Under ten seconds in all."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import torch

import lamina
from lamina import layers

MEASURE = """
import sys, time
begin = time.process_time()
import torch, numpy
before = set(sys.modules)
start = time.process_time()
import lamina
lamina.Sequential, lamina.layers.Dense, lamina.ops.relu
print((time.process_time() - start) / (start - begin))
print(",".join(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_import_is_fast_and_loads_nothing_heavy():
    # As a share of torch's own import, which takes about 1.2 seconds where lamina may add 0.3, so that a slow or busy
    # machine does not count. The first run compiles to byte code, as installing does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", MEASURE]
    shares, loaded = [], ""
    for _ in range(3):
        shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        share, loaded = shown.split()
        shares.append(float(share))
        if shares[-1] < 0.25:
            break
    heavy = {"h5py", "matplotlib", "pandas", "PIL", "rich", "typer", "scipy", "sklearn", "keras", "tensorflow"}
    assert not heavy & set(loaded.split(","))
    assert min(shares) < 0.25, f"import lamina takes {shares} of the time that torch takes"


def test_dense_computes():
    layer = layers.Dense(2)
    x = torch.ones(3, 4)
    y = layer(x)
    assert isinstance(layer, torch.nn.Module)
    torch.testing.assert_close(y, x @ layer.kernel + layer.bias)


def test_fit_learns():
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [3.0], [0.5]], "float32")
    model = lamina.Sequential([layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(x, y, epochs=4, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert model.predict(x, verbose=0).shape == (256, 1)
