"""The quick start: the same short run from pretrained and from random weights.

    python scripts/quickstart.py [FOLDER]

trains both into FOLDER (runs/quickstart by default), predicts a few images with the
first, and prints the two mIoU side by side. About a minute on 2 CPU cores.
"""

import json
import pathlib
import subprocess
import sys
import time

from PIL import Image

from jaxseg.data import synthetic

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main(folder: pathlib.Path) -> None:
    """Runs the command line as a user would, and compares."""
    begin = time.perf_counter()
    folder = folder.resolve()
    for variant in ("scratch", "pretrained"):
        print(f"\n=== {variant}", flush=True)
        jaxseg(f"--config=configs/quickstart.py:{variant}", folder / variant)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for index in range(4):  # scenes that neither split holds
        image, _ = synthetic.render(index, seed=2, size=(256, 256), domain="night")
        Image.fromarray(image).save(images / f"night_{index}.png")
    jaxseg(
        "--config=configs/quickstart.py",
        folder / "pretrained",
        "--mode=predict",
        f"--input={images}",
        f"--output={folder / 'predictions'}",
    )
    scratch, transfer = (
        json.loads((folder / variant / "result.json").read_text())["miou"]
        for variant in ("scratch", "pretrained")
    )
    seconds = time.perf_counter() - begin
    print(f"\nmIoU on 100 held-out images by night, all in {seconds:.0f} s:")
    print(f"  from random weights     {scratch:.3f}")
    print(f"  from pretrained weights {transfer:.3f}")
    print(f"report      {folder / 'pretrained' / 'report.html'}")
    print(f"predictions {folder / 'predictions'}")


def jaxseg(config: str, workdir: pathlib.Path, *flags: str) -> None:
    """`python -m jaxseg.main`, ending this program if it fails."""
    command = [sys.executable, "-m", "jaxseg.main", config, f"--workdir={workdir}"]
    if code := subprocess.run([*command, *flags], cwd=ROOT, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart"))
