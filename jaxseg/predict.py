"""Class maps and overlays of image files."""

import pathlib

import jax
import numpy as np

from jaxseg import checkpoint, errors, inference, pictures, sharding
from jaxseg import config as config_lib
from jaxseg.data import datasets, sources
from jaxseg.models import names


def run(
    config: config_lib.Config,
    workdir: pathlib.Path,
    *,
    input_path: pathlib.Path,
    output: pathlib.Path,
    step: int | None,
) -> None:
    """Writes NAME.png (palette indices) and NAME_overlay.png for each input image.

    `input_path` is a file or a folder of images; the best checkpoint is used unless
    `step` names one. Raises UserError for inputs that cannot be read.
    """
    paths = find_images(input_path)
    class_names, palette = datasets.read_classes(workdir / "classes.json")
    model_config = config_lib.with_classes(config.model, len(class_names))
    mesh = sharding.make_local_mesh()
    model, step = checkpoint.restore_model(workdir, model_config, mesh, step=step)
    graphdef, params, stats = names.split(model)
    predict = jax.jit(
        inference.make_predictor(graphdef, mean=config.data.mean, std=config.data.std)
    )
    output.mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = sources.read_image(path)
        classes = np.asarray(predict(params | stats, image[None])[0]).astype(np.uint8)
        pictures.save_indices(output / f"{path.stem}.png", classes, palette)
        overlay = pictures.overlay(image, classes, class_names, palette)
        pictures.save_image(output / f"{path.stem}_overlay.png", overlay)
    print(f"{len(paths)} predictions of checkpoint {step} in {output}")


def find_images(path: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or the images of a folder by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise errors.UserError(f"--input={path} is neither a file nor a folder")
    images = datasets.files_by_stem(path, datasets.IMAGE_SUFFIXES)
    if not images:
        raise errors.UserError(f"--input={path} holds no .jpg, .jpeg or .png image")
    return [images[stem] for stem in sorted(images)]
