"""Every setting of a run: its name, default, unit and allowed values.

A recipe in `configs/` returns a `Config`; command-line flags override any field
(`--config.optim.lr=0.02`). `validate.py` checks what is written beside the fields here.
"""

# No `from __future__ import annotations`: config_flags reads the types at run time.
import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxseg import errors

HEADS = ("fcn", "deeplabv3", "deeplabv3plus")
BACKBONES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "mobilenet_v2",
)
DATASETS = (
    *("synthetic", "folder", "tfds", "cityscapes", "voc", "ade20k", "coco_stuff"),
    *("coco_voc", "pascal_context", "pascal_context60", "camvid", "camvid32", "pet"),
    "loveda",
)
SCHEDULES = ("constant", "polynomial", "cosine", "step", "exponential")


def _field(default: Any, **rules: Any) -> Any:
    """A field whose `rules` (choices, low, high, above) validate.py checks."""
    return dataclasses.field(default=default, metadata=rules)


def _section(kind: type) -> Any:
    return dataclasses.field(default_factory=kind)


@dataclass(kw_only=True, slots=True)
class Model:
    """The network, torchvision's in names and numbers unless said otherwise."""

    head: str = _field("deeplabv3", choices=HEADS)
    backbone: str = _field("resnet50", choices=BACKBONES)
    num_classes: int = _field(0, low=0, high=255)  # 0: as many as the dataset has
    output_stride: int = _field(8, choices=(8, 16, 32))  # input / last feature map
    aux_head: bool = False  # FCN head on stage 3, for its loss in training
    stem: str = _field("7x7", choices=("7x7", "c", "d"))  # plain, ResNet-C, ResNet-D
    width: int = _field(64, low=4, high=512)  # 64 is as published; all stages scale
    padding: str = _field("symmetric", choices=("symmetric", "same"))  # same: as in TF
    # The first block of a dilated stage keeps the dilation of the stage before it, as
    # in torchvision; False dilates it like the rest (segmentation_models.pytorch).
    contract_dilation: bool = True
    head_channels: int = _field(256, low=1)  # ASPP and decoder; mmseg's DeepLabV3: 512
    atrous_rates: tuple[int, ...] = _field((), low=1)  # (): 12, 24, 36 at stride 8
    low_level_channels: int = _field(48, low=1)  # DeepLabV3+ only
    separable: bool = True  # depthwise-separable ASPP and decoder, DeepLabV3+ only
    # None: the published rates, 0.5 after ASPP and 0.1 in FCN and auxiliary heads.
    dropout: float | None = _field(None, low=0, high=0.99)
    # Of computation; parameters, statistics, logits and loss are float32 at any rate.
    # auto: bfloat16 on GPU and TPU, float32 on the CPU, which is slower in bfloat16.
    dtype: str = _field("auto", choices=("auto", "float32", "bfloat16"))
    align_corners: bool = False  # of every bilinear resize inside the network


@dataclass(kw_only=True, slots=True)
class Pretrained:
    """Where the initial weights come from."""

    path: str = ""  # a .safetensors or .pth file, or a hub name; empty: random weights
    skip: tuple[str, ...] = ()  # name rules: weights that stay at their initial value


@dataclass(kw_only=True, slots=True)
class Data:
    """The images and what is done to them before the network sees them."""

    name: str = _field("synthetic", choices=DATASETS)
    root: str = ""  # folder of the dataset, or of the archives it comes in
    train_split: str = "train"  # what is trained on; docs/datasets.md lists them
    val_split: str = "val"  # what is evaluated on
    # The next four are for `tfds` alone.
    tfds_name: str = ""  # under root, as cityscapes/semantic_segmentation; "": the one
    image_key: str = ""  # the feature with the image; "": the only one of 3 channels
    label_key: str = ""  # the feature with the label; "": the only one of 1 channel
    classes: str = ""  # a classes.json, where the data set does not tell its classes
    # Folders of more data sets of this name and these classes, to train on together.
    mix: tuple[str, ...] = ()
    # Parts of what is shown, of `root` and of each in `mix`; (): as large as they are.
    mix_weights: tuple[float, ...] = _field((), above=0)
    crop: tuple[int, int] = _field((128, 128), low=1, high=16384)  # height, width
    # Processes that decode; 0: threads; -1 (on the command line auto): by the machine.
    workers: int = _field(0, low=-1, high=256)
    timeout: float = _field(60.0, above=0)  # seconds to wait for a batch, then stop
    # At a training example that cannot be read; validation always stops there.
    on_error: str = _field("stop", choices=("stop", "skip"))
    check_first: int = _field(8, low=0)  # examples a split checked before training
    # Which examples an epoch shows: each once; or rare classes more often, as DAFormer
    # draws them, or by LVIS's repeat factors.
    sampling: str = _field(
        "uniform", choices=("uniform", "rare_class", "repeat_factor")
    )
    rare_temperature: float = _field(0.01, low=1e-4)  # of rare_class, DAFormer's T
    rare_pixels: int = _field(3000, low=1)  # of the class in an example drawn for it
    # Of repeat_factor: a class that a smaller share of the examples shows is repeated.
    repeat_threshold: float = _field(0.1, above=0, high=1)  # LVIS: 0.001
    # What follows, to `cutout_ignore`, is done in this order and to training images
    # alone; evaluation takes each image as it is, at its own size.
    augment: str = _field("standard", choices=("standard", "none"))  # none: as they are
    rotate: float = _field(0.0, low=0, high=180)  # largest angle, degrees
    # To this size, before `scale`: (shorter side,), or (height, width); (): as it is.
    resize: tuple[int, ...] = _field((), low=1, high=16384)
    keep_ratio: bool = False  # fitted into (height, width), either way up
    scale: tuple[float, float] = _field((0.5, 2.0), above=0, high=16)  # random resize
    scale_step: float = _field(0.0, low=0, high=16)  # from scale[0] up; 0: any between
    # The largest share of one class in the counted pixels of a crop; 10 are tried.
    cat_max_ratio: float = _field(1.0, above=0, high=1)
    flip: float = _field(0.5, low=0, high=1)  # probability of mirroring left and right
    vflip: float = _field(0.0, low=0, high=1)  # probability of mirroring up and down
    mosaic: float = _field(0.0, low=0, high=1)  # probability: four images of the batch
    classmix: float = _field(0.0, low=0, high=1)  # probability: classes of another one
    photometric: bool = False  # mmsegmentation's PhotoMetricDistortion, at its limits
    brightness: float = _field(0.0, low=0, high=1)  # largest relative change
    contrast: float = _field(0.0, low=0, high=1)
    saturation: float = _field(0.0, low=0, high=1)
    hue: float = _field(0.0, low=0, high=0.5)  # largest shift, in turns
    randaug_ops: int = _field(0, low=0, high=8)  # RandAugment's N, of colors alone
    randaug_magnitude: float = _field(9.0, low=0, high=30)  # RandAugment's M
    blur: float = _field(0.0, low=0, high=1)  # probability of a Gaussian blur
    blur_sigma: tuple[float, float] = _field((0.1, 2.0), above=0, high=16)  # pixels
    cutout: float = _field(0.0, low=0, high=1)  # probability of holes
    cutout_holes: int = _field(1, low=1, high=64)
    # Smallest and largest side of a hole over that of the crop.
    cutout_size: tuple[float, float] = _field((0.1, 0.5), above=0, high=1)
    cutout_ignore: bool = False  # labels in the holes count nowhere; else they stay
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # RGB in 0..255
    std: tuple[float, float, float] = _field((58.395, 57.12, 57.375), above=0)
    # The rest is for `synthetic` alone.
    domain: str = _field("day", choices=("day", "night"))
    size: tuple[int, int] = _field((128, 128), low=16, high=4096)  # height, width
    train_images: int = _field(64, low=1)
    eval_images: int = _field(100, low=1)


@dataclass(kw_only=True, slots=True)
class Train:
    """How long and how much at a time."""

    steps: int = _field(1000, low=0)
    batch_size: int = _field(8, low=1)  # images in one step, over all devices
    # Parts of a batch, taken one after the other with their gradients summed before the
    # update: the memory of a part. BatchNorm sees each part by itself.
    accumulate: int = _field(1, low=1)
    log_every: int = _field(20, low=1)  # steps
    # Decay of the moving average of the weights, a step; 0: none is kept.
    ema: float = _field(0.0, low=0, high=0.999999)
    # At a loss or gradients that are not finite: stop, or leave the step out.
    nonfinite: str = _field("stop", choices=("stop", "skip"))
    deterministic: bool = False  # on GPUs too, where it takes time; see reliability.md
    # What the forward pass keeps for the backward one, which computes the rest again:
    # less memory, more time. auto: convolutions on the CPU, where they take no more
    # time, all elsewhere.
    keep: str = _field("auto", choices=("auto", "all", "convolutions", "blocks"))


@dataclass(kw_only=True, slots=True)
class Optim:
    """The update. Durations are steps."""

    name: str = _field("sgd", choices=("sgd", "adam", "adamw"))
    # For the batch size of `train`; or, with a rule of scaling, for `lr_batch_size`:
    # it is multiplied by the ratio of the two, or by the ratio's square root.
    lr: float = _field(0.01, above=0)
    lr_scaling: str = _field("none", choices=("none", "linear", "sqrt"))
    lr_batch_size: int = _field(16, low=1)
    momentum: float = _field(0.9, low=0, high=0.9999)  # SGD
    betas: tuple[float, float] = _field(
        (0.9, 0.999), low=0, high=0.99999
    )  # Adam, AdamW
    weight_decay: float = _field(1e-4, low=0)  # L2 for SGD and Adam, decoupled in AdamW
    decay_exclude: tuple[str, ...] = ()  # name rules: parameters without weight decay
    schedule: str = _field("polynomial", choices=SCHEDULES)
    warmup_steps: int = _field(0, low=0)  # linear, from lr / warmup_steps
    power: float = _field(0.9, above=0)  # polynomial
    end_lr: float = _field(0.0, low=0)  # where polynomial, cosine and exponential end
    milestones: tuple[int, ...] = _field((), low=1)  # step: where lr is multiplied
    gamma: float = _field(0.1, above=0, high=1)  # step: by this
    head_lr_multiplier: float = _field(1.0, above=0)  # for all but the backbone
    clip_norm: float = _field(0.0, low=0)  # of all gradients together; 0: none


@dataclass(kw_only=True, slots=True)
class Loss:
    """Cross-entropy, averaged over the pixels that count, and the Dice loss."""

    ignore: int = _field(255, low=0, high=255)  # the label that counts nowhere
    class_weights: tuple[float, ...] = _field((), low=0)  # (): all classes alike
    label_smoothing: float = _field(0.0, low=0, high=0.99)
    aux_weight: float = _field(0.5, low=0)
    # Hard examples, of the head's cross-entropy alone: only pixels that give their
    # label a probability below the threshold add to it; 0: all pixels, 0.7 is usual.
    ohem_threshold: float = _field(0.0, low=0, high=1)
    ohem_min_kept: int = _field(100_000, low=1)  # pixels an image at the least
    dice_weight: float = _field(0.0, low=0)  # of the Dice loss beside cross-entropy


@dataclass(kw_only=True, slots=True)
class Eval:
    """Evaluation on the validation split."""

    every: int = _field(0, low=0)  # steps; 0: only at the end
    batch_size: int = _field(8, low=1)
    # What is evaluated, and judged the best by it: the average of the weights, where
    # train.ema keeps one, or the weights as they are.
    weights: str = _field("ema", choices=("ema", "raw"))


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """What is kept in `workdir/checkpoints`; the best by mIoU is kept besides."""

    every: int = _field(0, low=0)  # steps; 0: only where an evaluation falls
    keep: int = _field(2, low=1)  # latest ones


@dataclass(kw_only=True, slots=True)
class Mesh:
    """How many devices lie along each axis; -1: all that the others leave."""

    data: int = _field(-1, low=-1)  # each takes a share of the batch
    # As data, and each holds a share alone of parameters, optimizer state and average.
    fsdp: int = _field(1, low=-1)
    height: int = _field(1, low=-1)  # each takes a share of the rows of every image


@dataclass(kw_only=True, slots=True)
class Sharding:
    """How the devices, of all processes, share the work."""

    mesh: Mesh = _section(Mesh)


@dataclass(kw_only=True, slots=True)
class Export:
    """What `--mode=export` writes."""

    format: str = _field("torch", choices=("torch",))  # torchvision-named safetensors


@dataclass(kw_only=True, slots=True)
class Config:
    """A run. See the sections for units and allowed values."""

    seed: int = _field(0, low=0, high=2**31 - 1)
    freeze: tuple[str, ...] = ()  # name rules: parts that do not train at all
    freeze_bn: bool = False  # BatchNorm keeps its statistics; scale and bias train
    model: Model = _section(Model)
    pretrained: Pretrained = _section(Pretrained)
    data: Data = _section(Data)
    train: Train = _section(Train)
    optim: Optim = _section(Optim)
    loss: Loss = _section(Loss)
    eval: Eval = _section(Eval)
    checkpoint: Checkpoint = _section(Checkpoint)
    sharding: Sharding = _section(Sharding)
    export: Export = _section(Export)


def check_variant(variant: str, known: Iterable[str]) -> str:
    """A recipe's variant, if it is a known one. Raises UserError if not."""
    if variant not in known:
        raise errors.UserError(
            f"the recipe has no variant {variant!r}; it has {', '.join(known)}"
        )
    return variant


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """All settings by dotted name: {"seed": 0, "model.head": "deeplabv3", ...}.

    `config` is a Config, or what its JSON holds.
    """
    settings = {}
    sections = config if isinstance(config, dict) else dataclasses.asdict(config)
    for name, value in sections.items():
        if isinstance(value, dict):
            settings |= flatten(value, f"{prefix}{name}.")
        else:
            settings[prefix + name] = value
    return settings


def diff(config: Config, base: Config) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configs differ: name -> (base's value, config's)."""
    old, new = flatten(base), flatten(config)
    return {name: (old[name], new[name]) for name in new if new[name] != old[name]}


def with_classes(model: Model, num_classes: int) -> Model:
    """The model for so many classes. Raises UserError if it is set to another count."""
    if model.num_classes not in (0, num_classes):
        raise errors.UserError(
            f"config.model.num_classes={model.num_classes}, but the data set has "
            f"{num_classes} classes; leave it at 0 to take the data set's"
        )
    return dataclasses.replace(model, num_classes=num_classes)


def to_json(config: Config) -> str:
    """The whole config as indented JSON; tuples become lists."""
    return json.dumps(dataclasses.asdict(config), indent=1)
