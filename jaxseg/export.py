"""A trained model as a file for other programs."""

import dataclasses
import pathlib

from jaxseg import checkpoint, pretrained, sharding
from jaxseg import config as config_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import datasets


def run(
    config: config_lib.Config,
    workdir: pathlib.Path,
    *,
    output: pathlib.Path,
    step: int | None,
) -> None:
    """Writes the best checkpoint (or that of `step`) in config.export.format.

    torch: one .safetensors file with torchvision's names, which loads into
    torchvision's model with strict=True, and back here as pretrained.path.
    """
    class_names, _ = datasets.read_classes(workdir / "classes.json")
    model_config = config_lib.with_classes(config.model, len(class_names))
    config = dataclasses.replace(config, model=model_config)
    workdir_lib.check_to_use(workdir, config)
    mesh = sharding.make_mesh()
    model, step = checkpoint.restore_model(workdir, config, mesh, step=step)
    if output.suffix != ".safetensors":
        output = output / "model.safetensors"
    pretrained.save(model, output)
    print(f"checkpoint {step} written to {output}")
