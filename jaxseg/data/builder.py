"""The builder with which TensorFlow Datasets writes any data set of ours.

It gives TFDS encoded files and never pixels, which is what works without TensorFlow.
TFDS's own way of writing keeps nothing of what a stopped run has done; here the files
that are complete are kept (shards.py), and nothing is written twice to shuffle it.
Imports tensorflow_datasets: prepare.py imports this file late.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Generator, Sequence
from typing import Any

import rich.console
import rich.progress
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, example_serializer, file_adapters
from tensorflow_datasets.core import splits as tfds_splits

from jaxseg import pictures
from jaxseg.data import encoded, plans, shards

VERSION = "1.0.0"  # the one that TFDS has for Cityscapes
CONFIG = "semantic_segmentation"  # likewise
OURS = ".jaxseg"  # a file in unfinished folders, which TFDS itself may write here too

tfds.disable_progress_bar()  # it does not know how many examples there are


def make_builder(plan: plans.Plan, data_dir: pathlib.Path) -> "Builder":
    """The builder, which finds out whether the data set is there already.

    Without a config's name TFDS looks for the plain one, whichever is written.
    """
    names = dict.fromkeys((CONFIG, plan.config))
    configs = [tfds.core.BuilderConfig(name=name, version=VERSION) for name in names]
    fields = {"name": plan.name, "BUILDER_CONFIGS": configs}
    kind = type("Builder", (Builder,), fields, skip_registration=True)
    return kind(plan, data_dir)


class Builder(dataset_builder.FileReaderBuilder, skip_registration=True):
    """Reads, checks, encodes and writes each example of a plan."""

    def __init__(self, plan: plans.Plan, data_dir: pathlib.Path):
        self.plan = plan
        super().__init__(
            data_dir=data_dir, config=plan.config, file_format="array_record"
        )

    def _info(self) -> tfds.core.DatasetInfo:
        plan, facts = self.plan, self.plan.facts
        image_key, label_key = plans.keys(plan.name)
        size = plan.size or (None, None)
        png = "png" if plan.form == "original" else None
        features = tfds.features.FeaturesDict(
            {
                "image_id": tfds.features.Text(),
                image_key: tfds.features.Image(
                    shape=(*size, 3), encoding_format=png if plan.size else None
                ),
                label_key: tfds.features.Image(
                    shape=(*size, 1), encoding_format=png, use_colormap=True
                ),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{plan.dataset} for semantic segmentation.",
            features=features,
            homepage=facts.source if facts else None,
            license=facts.license if facts else None,
            citation=facts.cite if facts else None,
            metadata=tfds.core.MetadataDict(plans.metadata(plan)),
        )

    def _download_and_prepare(
        self, dl_manager: object, download_config: object
    ) -> None:
        """Writes what is not kept, then moves it where TFDS wants it: all or nothing.

        TFDS calls it with a folder that it renames when this returns.
        """
        mark = pathlib.Path(self.data_path) / OURS
        mark.touch()
        metadata = plans.metadata(self.plan)
        content = [encoded.VERSION, metadata, self._features.to_json()]
        made_by = json.dumps(content, sort_keys=True)
        folder = pathlib.Path(self.data_path).parent / shards.FOLDER
        planned = {
            split: shards.plan(folder, split, source, made_by=made_by)
            for split, source in self.plan.splits.items()
        }
        with shards.kept(folder, [*itertools.chain(*planned.values())]):
            for split, each in planned.items():
                self._write(split, [shard for shard in each if not shard.path.exists()])
            infos = [self._moved(split, each) for split, each in planned.items()]
        self.info.set_splits(tfds_splits.SplitDict(infos))
        mark.unlink()

    @property
    def _features(self) -> Any:
        return self.info.features

    def _write(self, split: str, missing: Sequence[shards.Shard]) -> None:
        numbers = [number for shard in missing for number in shard.examples]
        adapter = file_adapters.ArrayRecordFileAdapter
        with contextlib.closing(self._read(split, numbers)) as examples:
            for shard in missing:
                few = itertools.islice(examples, len(shard.examples))
                with pictures.atomic_path(shard.path) as part:
                    adapter.write_examples(part, few)

    def _read(self, split: str, numbers: Sequence[int]) -> Generator[tuple[int, bytes]]:
        """Records in order, made by threads a little ahead of what is written."""
        source, workers = self.plan.splits[split], self.plan.workers
        specs: Any = self._features.get_serialized_info()
        serializer = example_serializer.ExampleSerializer(specs)
        console = rich.console.Console(file=sys.stderr)
        waiting: collections.deque = collections.deque()

        def record(number: int) -> tuple[int, bytes]:
            example = plans.read_example(self.plan, source, number)
            encoded = self._features.encode_example(example)
            return number, serializer.serialize_example(encoded)

        with contextlib.ExitStack() as stack:
            pool = concurrent.futures.ThreadPoolExecutor(workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            for number in rich.progress.track(
                numbers,
                description=split,
                console=console,
                disable=not console.is_terminal,
            ):
                waiting.append(pool.submit(record, number))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _moved(
        self, split: str, written: Sequence[shards.Shard]
    ) -> tfds_splits.SplitInfo:
        template = self._get_filename_template(split)
        paths = template.sharded_filepaths(len(written))
        for shard, path in zip(written, paths, strict=True):
            shard.path.replace(path)
        return tfds_splits.SplitInfo(
            name=split,
            shard_lengths=[len(shard.examples) for shard in written],
            num_bytes=sum(map(os.path.getsize, paths)),
            filename_template=template,
        )
