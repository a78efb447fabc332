"""Make cifar10.npz from an archive of pictures, for the benchmarks.

    python benchmarks/make_cifar10.py --archive cifar10-images.tar.xz --out ~/data

The archive holds train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg. The result has the arrays of
lamina.datasets.cifar10: x_train uint8 (50000, 32, 32, 3), y_train uint8 (50000, 1), x_test and y_test
likewise with 10000. Classes are numbered from airplane, 0, to truck, 9. The original order of the pictures is
not known, so they are shuffled with a fixed seed; JPEG makes them close to, not equal to, the original
pixels. Needs Pillow.

Use it with: LAMINA_DATASETS=~/data python ...
"""

from __future__ import annotations

import argparse
import io
import os
import re
import tarfile
import tempfile
from pathlib import Path

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEMBER = re.compile(rf"(?:\./)?(train|test)/({'|'.join(CLASSES)})/(\d+)\.jpe?g")
SEED = 20090408
Part = dict[tuple[int, int], np.ndarray]


def read_archive(path: Path) -> dict[str, Part]:
    """The pictures of both parts by class and number; other files in the archive are passed over."""
    from PIL import Image

    parts: dict[str, Part] = {"train": {}, "test": {}}
    with tarfile.open(path) as tar:
        for member in tar:
            match = MEMBER.fullmatch(member.name)
            file = tar.extractfile(member) if match and member.isreg() else None
            if match is None or file is None:
                continue
            with Image.open(io.BytesIO(file.read()), formats=["JPEG"]) as picture:
                if picture.size != (32, 32):
                    raise SystemExit(f"{member.name} is {picture.size}, not 32 by 32 pixels")
                part, name, number = match.groups()
                parts[part][CLASSES.index(name), int(number)] = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    return parts


def shuffled(part: Part, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 32, 32, 3) and labels (N, 1) in an order that depends only on what is there."""
    keys = sorted(part)
    order = random.permutation(len(keys))
    x = np.stack([part[key] for key in keys])[order]
    y = np.array([label for label, _ in keys], dtype=np.uint8)[order]
    return x, y.reshape(-1, 1)


def write(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write cifar10.npz, which appears only when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "cifar10.npz"
    descriptor, partial = tempfile.mkstemp(prefix=".cifar10.", suffix=".npz", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


def main() -> None:
    """Read the archive, write the arrays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="the tar file with the pictures")
    parser.add_argument("--out", type=Path, required=True, help="the folder for cifar10.npz")
    args = parser.parse_args()

    parts = read_archive(args.archive)
    counts = {name: len(part) for name, part in parts.items()}
    if not all(counts.values()):
        raise SystemExit(f"the archive holds no pictures under train/CLASS/ and test/CLASS/: {counts}")
    random = np.random.default_rng(SEED)
    arrays: dict[str, np.ndarray] = {}
    for name in ("train", "test"):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = shuffled(parts[name], random)
    target = write(args.out, arrays)
    print(f"{target}: {counts['train']} pictures for training, {counts['test']} for testing")


if __name__ == "__main__":
    main()
