"""Time until a device has the first answer: `python benchmarks/start.py models/panvision.onnx PHOTO`.

Each round starts new processes: one that imports the packages of an exported model, one that also loads it, one that
also predicts the photo, and `panvision predict` on a folder with the photo alone. Shown are medians of the whole
process, Python's own start included: wall time, and processor time, which other programs on the machine disturb less.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import sys; from panvision.inference import infer_image, load_model; import panvision.inference.onnx_backend"
LOADS = f"{IMPORTS}; model, info = load_model(sys.argv[1])"
STEPS = {
    "Python alone": ("-c", "pass"),
    "imports": ("-c", IMPORTS),
    "imports, model loaded": ("-c", LOADS),
    "imports, model loaded, one photo": ("-c", f"{LOADS}; infer_image(model, sys.argv[2], info)"),
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Return wall and processor time of one process of this Python."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="processes of each kind (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        shutil.copy(args.photo, photos)
        steps = {name: [*step, str(args.model), str(args.photo)] for name, step in STEPS.items()}
        predict = ["-m", "panvision.cli.main", "predict", "--checkpoint", str(args.model)]
        steps["panvision predict"] = [*predict, "--input_dir", str(photos), "--output_dir", f"{folder}/out"]
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
        for _ in range(args.rounds):
            for name, step in steps.items():
                taken[name].append(seconds(step))
    print(f"{'median of ' + str(args.rounds):34}{'wall s':>8}{'cpu s':>8}")
    for name, pairs in taken.items():
        print(f"{name:34}" + "".join(f"{statistics.median(column):>8.2f}" for column in zip(*pairs, strict=True)))


if __name__ == "__main__":
    main()
