"""Exact evaluation: every pixel of every image, at its own size, once."""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import rich
from flax import nnx
from jax.sharding import Mesh
from PIL import Image

from jaxseg import (
    checkpoint,
    inference,
    memory,
    metrics,
    pictures,
    report,
    report_html,
    sharding,
)
from jaxseg import config as config_lib
from jaxseg import step as step_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import datasets, loader
from jaxseg.models import names

NUM_PANELS = 4  # pictures in the report


def run(config: config_lib.Config, workdir: pathlib.Path, *, step: int | None) -> None:
    """Evaluates the best checkpoint of a workdir (or that of `step`) and reports."""
    dataset = datasets.open_dataset(config.data, ignore=config.loss.ignore)
    config = datasets.with_num_classes(config, dataset)
    workdir_lib.check_to_use(workdir, config)
    mesh = sharding.make_mesh()
    model, step = checkpoint.restore_model(workdir, config.model, mesh, step=step)
    graphdef, params, stats = names.split(model)
    eval_step = step_lib.make_eval_step(
        graphdef,
        mesh,
        data=config.data,
        num_classes=dataset.num_classes,
        ignore=config.loss.ignore,
    )
    with memory.explained(memory.evaluation_too_large(config)):
        figures = evaluate(eval_step, params | stats, dataset, config, mesh)
        write_report(workdir, {"step": step, **figures}, model, dataset, config)


def evaluate(
    eval_step: Callable,
    variables: names.Variables,
    dataset: datasets.Dataset,
    config: config_lib.Config,
    mesh: Mesh,
) -> dict:
    """The figures of metrics.summarize over the val split, and `images`, their number.

    The batch is rounded up to a multiple of the number of devices.
    """
    source = dataset.split("val")
    confusion = np.zeros((dataset.num_classes, dataset.num_classes), np.int64)
    pending = []
    batches = loader.eval_batches(
        source,
        config.data,
        batch_size=config.eval.batch_size,
        multiple_of=jax.device_count(),
    )
    for batch in batches:
        pending.append(eval_step(variables, sharding.put_batch(mesh, batch)))
        if len(pending) > 1:  # read a result while the next one is computed
            confusion += np.asarray(pending.pop(0))
    confusion += sum(map(np.asarray, pending))
    return {
        **metrics.summarize(confusion, dataset.class_names),
        "images": len(source),
    }


def write_report(
    workdir: pathlib.Path,
    result: dict,
    model: nnx.Module,
    dataset: datasets.Dataset,
    config: config_lib.Config,
) -> None:
    """Prints the table and writes result.json and report.html."""
    rich.print(report.result_table(result))
    miou = report.score(result["miou"])
    print(f"step {result['step']}  mIoU {miou}  ({result['images']} images)")
    report.write_result(workdir, result)
    report_html.write_html(
        workdir,
        title=f"{config.model.head} {config.model.backbone} on {config.data.name}",
        config_json=json.loads(config_lib.to_json(config)),
        result=result,
        panels=make_panels(model, dataset, config),
    )


def make_panels(
    model: nnx.Module, dataset: datasets.Dataset, config: config_lib.Config
) -> list[Image.Image]:
    """A few images of the val split beside their labels and predictions."""
    model.eval()
    graphdef, params, stats = names.split(model)
    predict = jax.jit(
        inference.make_predictor(graphdef, mean=config.data.mean, std=config.data.std)
    )
    source = dataset.split("val")
    count = min(NUM_PANELS, len(source))
    panels = []
    for index in np.linspace(0, len(source) - 1, count).astype(int):
        example = source[int(index)]
        classes = predict(params | stats, example["image"][None])[0]
        label = example["label"]
        panels.append(
            pictures.panel(
                example["image"],
                np.where(label == config.loss.ignore, pictures.IGNORE, label),
                np.asarray(classes).astype(np.uint8),
                dataset.class_names,
                dataset.palette,
            )
        )
    return panels
