import math

import pytest

from jaxseg import config, errors, validate


def changed(**settings):
    """The default config with settings by dotted name, dots written `__`."""
    result = config.Config()
    for name, value in settings.items():
        *parents, leaf = name.split("__")
        section = result
        for parent in parents:
            section = getattr(section, parent)
        setattr(section, leaf, value)
    return result


def refuse(**settings):
    with pytest.raises(errors.UserError) as raised:
        validate.validate(changed(**settings))
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", 1.0, "int"),
        ("seed", True, "int"),
        ("train__steps", "100", "int"),
        ("model__head", 3, "str"),
        ("model__aux_head", 1, "bool"),
        ("model__aux_head", None, "bool"),
        ("optim__lr", "0.1", "float"),
        ("optim__lr", True, "float"),
        ("optim__lr", None, "float"),
        ("model__dropout", "none", "float | None"),
        ("freeze", "backbone", "tuple[str, ...]"),
        ("freeze", ["backbone"], "tuple[str, ...]"),
        ("freeze", ("backbone", 1), "tuple[str, ...]"),
        ("optim__milestones", (10, 20.5), "tuple[int, ...]"),
        ("data__crop", (128,), "tuple[int, int]"),
        ("data__crop", (128, 128, 3), "tuple[int, int]"),
        ("data__crop", (128.0, 128), "tuple[int, int]"),
        ("data__crop", 128, "tuple[int, int]"),
        ("data__mean", (1.0, 2.0), "tuple[float, float, float]"),
        ("data", None, "Data"),
    ],
)
def test_types(name, value, expected):
    dotted = name.replace("__", ".")
    assert refuse(**{name: value}) == (
        f"config.{dotted}={value!r} is not of type {expected}"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["optim__lr", "optim__clip_norm", "model__dropout"])
def test_numbers_are_finite(name, value):
    assert f"config.{name.replace('__', '.')}={value!r}" in refuse(**{name: value})


@pytest.mark.parametrize("value", [1e39, -1e39, 10**400])
def test_numbers_fit_into_float32(value):
    assert "is not of type float" in refuse(optim__weight_decay=value)


def test_integers_fit_into_32_bits():
    validate.validate(changed(checkpoint__keep=2**31 - 1))
    told = "config.checkpoint.keep=2147483648 does not fit into 32 bits"
    assert refuse(checkpoint__keep=2**31) == told
    assert "does not fit into 32 bits" in refuse(model__atrous_rates=(1, 10**30))


def test_no_name_has_a_nul_character():
    assert "config.data.root='a\\x00b' has a character" in refuse(data__root="a\0b")


def test_nan_within_a_tuple():
    assert "config.data.scale=(0.5, nan)" in refuse(data__scale=(0.5, math.nan))


def test_an_int_passes_for_a_float():
    validate.validate(changed(optim__lr=1, data__mean=(0, 0, 0), model__dropout=0))


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("model__head", "deeplab_v3", "deeplabv3"),
        ("model__backbone", "resnet_50", "resnet50"),
        ("model__backbone", "mobilenetv2", "mobilenet_v2"),
        ("data__name", "cityscape", "cityscapes"),
        ("optim__schedule", "poly", "polynomial"),
        ("optim__name", "adamW", "adamw"),
    ],
)
def test_the_nearest_name_is_suggested(name, value, near):
    message = refuse(**{name: value})
    assert message.startswith(f"config.{name.replace('__', '.')}={value!r} is not one")
    assert message.endswith(f"; did you mean {near}?")


def test_no_name_is_near():
    message = refuse(model__head="zzz")
    assert message == (
        "config.model.head='zzz' is not one of fcn, deeplabv3, deeplabv3plus"
    )
    message = refuse(model__output_stride=4)
    assert "config.model.output_stride=4 is not one of 8, 16, 32" in message


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("seed", -1, "at least 0"),
        ("seed", 2**31, "at most 2147483647"),
        ("optim__lr", 0.0, "greater than 0"),
        ("optim__lr", -1.0, "greater than 0"),
        ("optim__momentum", 1.0, "at most 0.9999"),
        ("optim__clip_norm", -0.1, "at least 0"),
        ("train__batch_size", 0, "at least 1"),
        ("train__steps", -1, "at least 0"),
        ("model__dropout", 1.0, "at most 0.99"),
        ("loss__ignore", 256, "at most 255"),
        ("loss__ohem_threshold", 1.5, "at most 1"),
        ("loss__ohem_min_kept", 0, "at least 1"),
        ("loss__dice_weight", -1.0, "at least 0"),
        ("data__hue", 0.6, "at most 0.5"),
        ("data__cat_max_ratio", 0.0, "greater than 0"),
        ("data__randaug_magnitude", 31.0, "at most 30"),
        ("data__cutout_holes", 0, "at least 1"),
        ("eval__every", -1, "at least 0"),
    ],
)
def test_ranges(name, value, rule):
    message = refuse(**{name: value})
    assert message == f"config.{name.replace('__', '.')}={value} must be {rule}"


@pytest.mark.parametrize(
    ("name", "value", "item"),
    [
        ("data__crop", (0, 128), "0 must be at least 1"),
        ("data__std", (1.0, 1.0, 0.0), "0.0 must be greater than 0"),
        ("loss__class_weights", (1.0, -2.0), "-2.0 must be at least 0"),
        ("model__atrous_rates", (6, 0), "0 must be at least 1"),
        ("optim__betas", (0.9, 1.0), "1.0 must be at most 0.99999"),
    ],
)
def test_ranges_of_items(name, value, item):
    assert refuse(**{name: value}) == f"config.{name.replace('__', '.')}={item}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"optim__warmup_steps": 1000, "train__steps": 1000},
            ["config.optim.warmup_steps=1000", "config.train.steps=1000"],
        ),
        ({"optim__schedule": "exponential"}, ["config.optim.end_lr=0", "exponential"]),
        ({"optim__schedule": "step"}, ["config.optim.schedule='step'", "milestones"]),
        (
            {"optim__schedule": "step", "optim__milestones": (20, 20)},
            ["config.optim.milestones=(20, 20)", "rise strictly"],
        ),
        ({"optim__milestones": (20, 10)}, ["config.optim.milestones=(20, 10)"]),
        ({"optim__end_lr": 0.1}, ["config.optim.end_lr=0.1", "config.optim.lr=0.01"]),
        (
            {"model__backbone": "mobilenet_v2", "model__stem": "c"},
            ["config.model.stem='c'", "mobilenet_v2"],
        ),
        ({"model__num_classes": 1}, ["config.model.num_classes=1"]),
        (
            {"model__num_classes": 3, "loss__class_weights": (1.0, 2.0)},
            ["config.loss.class_weights", "2 values", "3 classes"],
        ),
        ({"loss__class_weights": (0.0, 0.0)}, ["config.loss.class_weights", "all 0"]),
        (
            {"loss__ohem_threshold": 0.7},
            ["config.loss.ohem_min_kept=100000", "config.data.crop=(128, 128)"],
        ),
        ({"data__scale": (2.0, 0.5)}, ["config.data.scale=(2.0, 0.5)"]),
        ({"data__blur_sigma": (2.0, 0.1)}, ["config.data.blur_sigma=(2.0, 0.1)"]),
        ({"data__cutout_size": (0.5, 0.1)}, ["config.data.cutout_size=(0.5, 0.1)"]),
        ({"data__scale_step": 1.6}, ["config.data.scale_step=1.6", "(0.5, 2.0)"]),
        ({"data__resize": (1, 2, 3)}, ["config.data.resize=(1, 2, 3)", "(side,)"]),
        (
            {"data__resize": (520,), "data__keep_ratio": True},
            ["config.data.resize=(520,) must be (height, width)", "keep_ratio=True"],
        ),
        (
            {"data__name": "folder", "data__mix": ("a",), "data__mix_weights": (1.0,)},
            ["config.data.mix_weights has 1 values", "each of config.data.mix=('a',)"],
        ),
        ({"data__mix": ("a",)}, ["config.data.mix: synthetic data"]),
        ({"data__workers": -2}, ["config.data.workers=-2 must be at least -1"]),
        ({"data__timeout": 0.0}, ["config.data.timeout=0.0 must be greater than 0"]),
        (
            {"data__mosaic": 0.5, "train__batch_size": 3},
            ["config.data.mosaic=0.5", "4 images", "config.train.batch_size=3"],
        ),
        (
            {"data__classmix": 0.5, "train__batch_size": 1},
            ["config.data.classmix=0.5", "2 images", "config.train.batch_size=1"],
        ),
    ],
)
def test_contradictions(settings, words):
    message = refuse(**settings)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "settings",
    [
        {"optim__warmup_steps": 999, "train__steps": 1000},
        {"train__steps": 0},
        {"optim__schedule": "exponential", "optim__end_lr": 1e-5},
        {"optim__schedule": "step", "optim__milestones": (10, 20)},
        {"data__scale": (1.0, 1.0)},
        {"data__scale_step": 1.5},
        {"data__resize": (520,)},
        {"data__workers": -1},
        {"data__name": "voc", "data__mix": ("a",), "data__mix_weights": (1.0, 2.0)},
        {"data__resize": (512, 2048), "data__keep_ratio": True},
        {"data__mosaic": 1.0, "data__classmix": 1.0, "train__batch_size": 4},
        {"data__mosaic": 1.0, "data__augment": "none", "train__batch_size": 1},
        {"loss__class_weights": (0.0, 1.0), "model__num_classes": 2},
        {"loss__ohem_threshold": 0.7, "loss__ohem_min_kept": 128 * 128 - 1},
        {"optim__end_lr": 0.01},
    ],
)
def test_what_works_passes(settings):
    validate.validate(changed(**settings))


def test_a_text_with_a_line_break_stays_on_one_line():
    assert "'fcn\\n'" in refuse(model__head="fcn\n")
