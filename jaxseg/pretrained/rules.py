"""How other libraries name the variables of the networks in `models/`.

A table is a list of (regular expression on our module path, their module path); the
first that matches from the start names the module, and a path that none matches keeps
its name. A new architecture brings its table here.
"""

import dataclasses
import re
from collections.abc import Iterable

Table = tuple[tuple[str, str], ...]

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# torchvision/models/resnet.py; other names are the same on both sides.
RESNET: Table = (
    (r"(layer\d\.\d+\.downsample)\.conv", r"\1.0"),
    (r"(layer\d\.\d+\.downsample)\.bn", r"\1.1"),
)

# The three convolutions of a deep stem in timm/models/resnet.py.
TIMM_STEM: Table = (
    (r"conv1\.conv1\.conv", "conv1.0"),
    (r"conv1\.conv1\.bn", "conv1.1"),
    (r"conv1\.conv2\.conv", "conv1.3"),
    (r"conv1\.conv2\.bn", "conv1.4"),
    (r"conv1\.conv3", "conv1.6"),
)

# timm's ResNet-D: the average pooling counts as module 0 of the shortcut.
TIMM_RESNETD: Table = (
    (r"(layer\d\.\d+\.downsample)\.conv", r"\1.1"),
    (r"(layer\d\.\d+\.downsample)\.bn", r"\1.2"),
)


def _mobilenet_v2() -> Table:
    """torchvision/models/mobilenetv2.py: one list of features, the stem the first."""
    table = [(r"stem\.conv", "features.0.0"), (r"stem\.bn", "features.0.1")]
    for block in range(17):
        parts = ("depthwise",) if block == 0 else ("expand", "depthwise")
        ours, theirs = rf"blocks\.{block}", f"features.{block + 1}.conv"
        for i, part in enumerate(parts):
            table.append((rf"{ours}\.{part}\.conv", f"{theirs}.{i}.0"))
            table.append((rf"{ours}\.{part}\.bn", f"{theirs}.{i}.1"))
        table.append((rf"{ours}\.project\.conv", f"{theirs}.{len(parts)}"))
        table.append((rf"{ours}\.project\.bn", f"{theirs}.{len(parts) + 1}"))
    return tuple(table)


BACKBONE = RESNET + TIMM_STEM + _mobilenet_v2()

# torchvision/models/segmentation/{fcn,deeplabv3}.py. It has no DeepLabV3+, whose parts
# keep our names below `classifier`.
TORCHVISION_HEADS: Table = (
    (r"aux_head\.block\.conv", "aux_classifier.0"),
    (r"aux_head\.block\.bn", "aux_classifier.1"),
    (r"aux_head\.classifier", "aux_classifier.4"),
    (r"head\.block\.conv", "classifier.0"),
    (r"head\.block\.bn", "classifier.1"),
    (r"head\.aspp\.convs\.(\d+)\.conv", r"classifier.0.convs.\1.0"),
    (r"head\.aspp\.convs\.(\d+)\.bn", r"classifier.0.convs.\1.1"),
    (r"head\.aspp\.pooling\.conv", "classifier.0.convs.4.1"),
    (r"head\.aspp\.pooling\.bn", "classifier.0.convs.4.2"),
    (r"head\.aspp\.project\.conv", "classifier.0.project.0"),
    (r"head\.aspp\.project\.bn", "classifier.0.project.1"),
    (r"head\.refine\.conv", "classifier.1"),
    (r"head\.refine\.bn", "classifier.2"),
    (r"head\.classifier", "classifier.4"),
    (r"head\.(.*)", r"classifier.\1"),
)

# segmentation_models_pytorch/decoders/deeplabv3/decoder.py.
SMP_HEADS: Table = (
    (r"head\.aspp\.convs\.0\.conv", "decoder.aspp.0.convs.0.0"),
    (r"head\.aspp\.convs\.(\d+)\.depthwise", r"decoder.aspp.0.convs.\1.0.0"),
    (r"head\.aspp\.convs\.(\d+)\.pointwise", r"decoder.aspp.0.convs.\1.0.1"),
    (r"head\.aspp\.convs\.(\d+)\.bn", r"decoder.aspp.0.convs.\1.1"),
    (r"head\.aspp\.pooling\.conv", "decoder.aspp.0.convs.4.1"),
    (r"head\.aspp\.pooling\.bn", "decoder.aspp.0.convs.4.2"),
    (r"head\.aspp\.project\.conv", "decoder.aspp.0.project.0"),
    (r"head\.aspp\.project\.bn", "decoder.aspp.0.project.1"),
    (r"head\.refine\.depthwise", "decoder.aspp.1.0"),
    (r"head\.refine\.pointwise", "decoder.aspp.1.1"),
    (r"head\.refine\.bn", "decoder.aspp.2"),
    (r"head\.low_level\.conv", "decoder.block1.0"),
    (r"head\.low_level\.bn", "decoder.block1.1"),
    (r"head\.fuse\.depthwise", "decoder.block2.0.0"),
    (r"head\.fuse\.pointwise", "decoder.block2.0.1"),
    (r"head\.fuse\.bn", "decoder.block2.1"),
    (r"head\.classifier", "segmentation_head.0"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One library's way of naming a network's variables.

    A file has this layout if one of its names matches `sign`. `backbone` is what
    stands before the backbone's names; where `heads` is None the file holds a bare
    backbone, and `classifier` matches what belongs to its ImageNet classifier.
    """

    name: str
    sign: str
    backbone: str = ""
    table: Table = BACKBONE
    heads: Table | None = None
    classifier: str = r"(?!)"

    def holds(self, ours: str) -> bool:
        """Whether such a file has our variable; a bare backbone has no heads."""
        return self.heads is not None or ours.startswith("backbone.")

    def theirs(self, ours: str) -> str:
        """The file's name of a variable that it holds."""
        module, leaf = ours.rsplit(".", 1)
        if module.startswith("backbone."):
            path = self.backbone + _rename(module.removeprefix("backbone."), self.table)
        else:
            path = _rename(module, self.heads or ())
        return f"{path}.{LEAVES[leaf]}"


TORCHVISION = Layout(
    name="torchvision",
    sign=r"backbone\.",
    backbone="backbone.",
    heads=TORCHVISION_HEADS,
)
# The first whose sign is found in a file is taken.
LAYOUTS = (
    Layout(name="smp", sign=r"encoder\.", backbone="encoder.", heads=SMP_HEADS),
    TORCHVISION,
    Layout(
        name="timm ResNet-D backbone",
        sign=r"layer\d\.0\.downsample\.2\.weight$",
        table=TIMM_STEM + TIMM_RESNETD,
        classifier=r"fc\.",
    ),
    Layout(
        name="ResNet backbone", sign=r"layer1\.0\.conv1\.weight$", classifier=r"fc\."
    ),
    Layout(
        name="MobileNetV2 backbone",
        sign=r"features\.0\.0\.weight$",
        classifier=r"features\.18\.|classifier\.",
    ),
)


def find_layout(names: Iterable[str]) -> Layout | None:
    """The layout of a file with these names, or None."""
    names = list(names)
    for layout in LAYOUTS:
        if any(re.match(layout.sign, name) for name in names):
            return layout
    return None


def _rename(module: str, table: Table) -> str:
    for pattern, replacement in table:
        if match := re.match(rf"{pattern}(?![^.])", module):
            return match.expand(replacement) + module[match.end() :]
    return module
