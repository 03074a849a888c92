"""Class maps and overlays of image files."""

import collections
import dataclasses
import pathlib

import jax
import numpy as np

from jaxseg import checkpoint, errors, inference, memory, pictures, sharding
from jaxseg import config as config_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import datasets, folder, images
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
    _check_output(paths, output)
    class_names, palette = datasets.read_classes(workdir / "classes.json")
    model_config = config_lib.with_classes(config.model, len(class_names))
    config = dataclasses.replace(config, model=model_config)
    workdir_lib.check_to_use(workdir, config)
    mesh = sharding.make_mesh()
    model, step = checkpoint.restore_model(workdir, config, mesh, step=step)
    graphdef, params, stats = names.split(model)
    predict = jax.jit(
        inference.make_predictor(graphdef, mean=config.data.mean, std=config.data.std)
    )
    output.mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = images.read_image(path)
        with memory.explained(f"{path} does not fit the device's memory; shrink it"):
            classes = np.asarray(predict(params | stats, image[None])[0])
        indices, picture = _outputs(path, output)
        pictures.save_indices(indices, classes.astype(np.uint8), palette)
        overlay = pictures.overlay(image, classes, class_names, palette)
        pictures.save_image(picture, overlay)
    print(f"{len(paths)} predictions of checkpoint {step} in {output}")


def find_images(path: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or the images of a folder by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise errors.UserError(f"--input={path} is neither a file nor a folder")
    images = folder.files_by_stem(path, folder.IMAGE_SUFFIXES)
    if not images:
        raise errors.UserError(f"--input={path} holds no .jpg, .jpeg or .png image")
    return [images[stem] for stem in sorted(images)]


def _outputs(path: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """Where the class indices and the overlay of an image go."""
    return [output / f"{path.stem}{end}.png" for end in ("", "_overlay")]


def _check_output(paths: list[pathlib.Path], output: pathlib.Path) -> None:
    """Raises UserError if an output would take the place of an input or another one."""
    written = collections.Counter(
        each for path in paths for each in _outputs(path, output)
    )
    twice, count = written.most_common(1)[0]
    if count > 1:
        raise errors.UserError(f"two inputs would be written to {twice}; rename one")
    inputs = {path.resolve() for path in paths}
    for path in written:
        if path.resolve() in inputs:
            raise errors.UserError(
                f"the prediction would overwrite the input {path}; choose another "
                "--output"
            )
