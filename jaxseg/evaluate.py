"""Exact evaluation: every pixel of every image, at its own size, once."""

import contextlib
import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import rich
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int64
from PIL import Image

from jaxseg import (
    agreement,
    checkpoint,
    hosts,
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
    mesh = sharding.make_mesh(config_lib.Mesh(height=config.sharding.mesh.height))
    model, step = checkpoint.restore_model(workdir, config, mesh, step=step)
    graphdef, params, stats = names.split(model)
    here = sharding.local_mesh(mesh)
    eval_step = step_lib.make_eval_step(
        graphdef,
        here,
        data=config.data,
        num_classes=dataset.num_classes,
        ignore=config.loss.ignore,
    )
    with memory.explained(memory.evaluation_too_large(config)):
        variables = sharding.gather(mesh, params | stats)
        figures = evaluate(eval_step, variables, dataset, config, here)
        assert figures is not None
        names.update(model, variables)
        write_report(workdir, {"step": step, **figures}, model, dataset, config)


def evaluate(
    eval_step: Callable,
    variables: names.Variables,
    dataset: datasets.Dataset,
    config: config_lib.Config,
    mesh: Mesh,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> dict | None:
    """The figures of metrics.summarize over the val split, and `images`, their number.

    Arguments are those of `count`, which may be cut short.
    """
    confusion = count(eval_step, variables, dataset, config, mesh, told_to_stop)
    if confusion is None:
        return None
    return {
        **metrics.summarize(confusion, dataset.class_names),
        "images": len(dataset.split("val")),
    }


def count(
    eval_step: Callable,
    variables: names.Variables,
    dataset: datasets.Dataset,
    config: config_lib.Config,
    mesh: Mesh,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> Int64[np.ndarray, "c c"] | None:
    """The confusion matrix of the val split; None if a process was told to stop.

    Each process evaluates its part of the images by itself, on the mesh of its own
    devices, where the variables lie. Its part of the batch is rounded up to a multiple
    of their number.
    """
    confusion = np.zeros((dataset.num_classes, dataset.num_classes), np.int64)
    pending, stopped = [], False
    batches = loader.eval_batches(
        dataset.split("val"),
        config.data,
        batch_size=-(-config.eval.batch_size // jax.process_count()),
        multiple_of=sharding.num_shares(mesh),
        share=(jax.process_index(), jax.process_count()),
    )
    with contextlib.closing(batches):
        for batch in batches:
            if stopped := told_to_stop():
                break
            pending.append(eval_step(variables, sharding.put_batch(mesh, batch)))
            if len(pending) > 1:  # read a result while the next one is computed
                confusion += np.asarray(pending.pop(0))
    confusion += sum(map(np.asarray, pending))
    if agreement.total(np.array([stopped], np.int64)).any():
        return None
    return agreement.total(confusion)


def write_report(
    workdir: pathlib.Path,
    result: dict,
    model: nnx.Module,
    dataset: datasets.Dataset,
    config: config_lib.Config,
) -> None:
    """Prints the table and writes result.json and report.html, in process 0."""
    if not hosts.is_main():
        return
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
