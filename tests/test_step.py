"""The jitted training step: what it changes, what it must not, and what it skips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights
from flax import nnx

from jaxseg import config, dice, losses, ohem, optim, resize, sharding, step
from jaxseg import state as state_lib
from jaxseg.models import build, names


def make(
    *,
    freeze=(),
    freeze_bn=False,
    optimizer="adamw",
    log_every=5,
    keep="all",
    loss=None,
    data=None,
    train=None,
    dropout=None,
):
    """(jitted step, first state) of a tiny FCN; loss, data and train are settings."""
    settings = config.Config(
        loss=config.Loss(**loss or {}),
        data=config.Data(**data or {}),
        train=config.Train(**train or {}),
    )
    settings.optim.name, settings.optim.weight_decay = optimizer, 0.1
    settings.data.brightness = 0.2
    settings.train.log_every = log_every
    settings.train.keep = keep
    model = weights.make_tiny(seed=None, head="fcn", aux_head=False, dropout=dropout)
    randomize(model)
    model.train()
    optim.freeze_statistics(model, ("*",) if freeze_bn else freeze)
    graphdef, params, stats = names.split(model)
    trained, frozen = optim.split_frozen(params, freeze)
    schedule = optim.make_schedule(settings.optim, 100)
    tx = optim.make_optimizer(settings.optim, schedule, trained)
    state = state_lib.make_train_state(
        trained, frozen, stats, tx, num_classes=3, ema=settings.train.ema > 0
    )
    train_step = step.make_train_step(
        graphdef,
        tx,
        schedule,
        sharding.make_mesh(),
        settings,
    )
    return train_step, state


def randomize(model):
    _, params, stats = names.split(model)
    rng = np.random.default_rng(0)
    values = {
        name: 0.1 * rng.normal(size=value.shape).astype(np.float32)
        for name, value in params.items()
    }
    values |= {name: jnp.ones(value.shape) for name, value in stats.items()}
    names.update(model, {name: jnp.asarray(v) for name, v in values.items()})


EVERYTHING = {
    **{"mosaic": 0.5, "classmix": 0.5, "cutout": 0.5, "cutout_ignore": True},
    **{"photometric": True, "randaug_ops": 2, "blur": 0.5},
    **{"contrast": 0.2, "saturation": 0.2, "hue": 0.05},
}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (4, 32, 32)).astype(np.int32)
    labels[:, :4] = 255
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    return {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}


def copied(variables):
    return {name: np.array(value) for name, value in variables.items()}


@pytest.mark.parametrize(
    "optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.slow)]
)
def test_frozen_parts_do_not_move_in_20_steps(batch, optimizer):
    train_step, state = make(freeze=("backbone",), optimizer=optimizer)
    before = copied(state.variables)
    moments = [x.size for x in jax.tree.leaves(state.opt_state) if x.ndim]
    trained = [x.size for x in state.params.values()]
    assert sum(moments) == sum(trained) * (2 if optimizer == "adamw" else 1)
    for _ in range(20):
        state, _ = train_step(state, batch)
    for name, value in state.variables.items():
        same = before[name].tobytes() == np.asarray(value).tobytes()
        assert same == name.startswith("backbone."), name


@pytest.mark.slow
def test_frozen_backbone_has_no_backward_pass(batch):
    def flops(**options):
        train_step, state = make(**options)
        return train_step.lower(state, batch).compile().cost_analysis()["flops"]

    assert flops(freeze=("backbone",)) < 0.6 * flops()


def test_freeze_bn_holds_statistics_alone(batch):
    train_step, state = make(freeze_bn=True)
    before = copied(state.variables)
    state, _ = train_step(state, batch)
    for name, value in state.stats.items():
        assert before[name].tobytes() == np.asarray(value).tobytes(), name
    changed = [n for n, v in state.params.items() if (before[n] != v).any()]
    assert any(name.endswith(".bn1.scale") for name in changed)


def test_metrics_are_means_since_the_last_row(batch):
    train_step, state = make(log_every=2)
    rows = []
    for _ in range(4):
        state, found = train_step(state, batch)
        rows.append(found)
    for first, second in (rows[:2], rows[2:]):
        assert float(first["loss"]) == float(first["step_loss"])
        assert float(second["step_loss"]) != float(first["step_loss"])
        mean = (float(first["step_loss"]) + float(second["step_loss"])) / 2
        assert float(second["loss"]) == pytest.approx(mean, rel=1e-6)
        assert first["confusion"].sum() == 4 * 28 * 32
        assert second["confusion"].sum() == 2 * 4 * 28 * 32
        assert (second["confusion"] >= first["confusion"]).all()


@pytest.mark.slow
def test_same_seed_same_bits_with_all_augmentations(batch):
    ends, counted = [], []
    runs = [make(log_every=1, data=EVERYTHING) for _ in range(2)]
    train_step = runs[0][0]
    for _, state in runs:
        before = copied(state.params)
        for _ in range(3):
            state, found = train_step(state, batch)
            assert np.isfinite(found["loss"])
            counted.append(int(found["confusion"].sum()))
        ends.append(copied(state.variables))
        for name, value in before.items():
            assert (value != ends[-1][name]).any(), name
    for name, value in ends[0].items():
        assert value.tobytes() == ends[1][name].tobytes()
    assert counted[:3] == counted[3:]
    assert len(set(counted)) > 1  # holes of each step's own count nowhere
    assert min(counted) < 4 * 28 * 32


@pytest.mark.slow
def test_the_first_loss_is_that_of_guessing():
    """A classifier of large random weights would begin at several times that."""
    model = build.build_model(
        config.Model(
            backbone="resnet18", num_classes=11, output_stride=32, width=8, dropout=0.0
        ),
        rngs=nnx.Rngs(0),
    )
    images = jax.random.normal(jax.random.key(0), (4, 64, 64, 3))
    labels = jax.random.randint(jax.random.key(1), (4, 64, 64), 0, 11)
    output = nnx.jit(lambda model, x: model.features(x))(model, images)
    loss, _ = losses.cross_entropy(output.logits, labels)
    assert np.log(11) < float(loss) < np.log(11) + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["convolutions", "blocks"])
def test_what_is_kept_changes_no_result(batch, keep):
    (all_kept, state), (less, other) = make(), make(keep=keep)
    barrier = "optimization_barrier"  # between a value and the same computed again
    few = all_kept.lower(state, batch).as_text().count(barrier)
    assert less.lower(other, batch).as_text().count(barrier) > few
    state, expected = all_kept(state, batch)
    other, found = less(other, batch)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    norm = float(expected["grad_norm"])
    assert float(found["grad_norm"]) == pytest.approx(norm, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", [{"ohem_threshold": 0.01, "ohem_min_kept": 500}, {"dice_weight": 2.0}]
)
def test_other_losses(batch, loss):
    """They change the gradient, and the confusion matrix is that of the same logits."""
    (plain_step, state), (other_step, other) = make(), make(loss=loss)
    before = copied(state.params)
    state, plain = plain_step(state, batch)
    other, found = other_step(other, batch)
    np.testing.assert_array_equal(found["confusion"], plain["confusion"])
    assert (found["loss"] < plain["loss"]) == ("ohem_threshold" in loss)
    assert found["grad_norm"] != pytest.approx(float(plain["grad_norm"]), rel=1e-2)
    assert all((before[name] != value).any() for name, value in other.params.items())


def test_the_loss_of_both_heads():
    """Dice of both, hard examples of the main one alone."""
    rng = np.random.default_rng(0)
    main, aux = jnp.asarray(rng.normal(size=(2, 1, 4, 4, 3)), "float32")
    labels = jnp.asarray(rng.integers(0, 3, (1, 16, 16), np.int32))
    settings = config.Config(
        loss=config.Loss(
            ohem_threshold=0.3, ohem_min_kept=9, dice_weight=2.0, aux_weight=0.4
        )
    )
    value, predictions = jax.jit(
        lambda output: step._total_loss(output, labels, settings)
    )(build.Output(main, aux))

    @jax.jit
    def expect(main, aux):
        hard = ohem.hard_pixels(main, labels, threshold=0.3, min_kept=9)
        of_main, _ = losses.cross_entropy(main, labels, hard)
        of_aux, _ = losses.cross_entropy(aux, labels)
        of_main += 2 * dice.dice(main, labels)
        of_aux += 2 * dice.dice(aux, labels)
        return of_main + 0.4 * of_aux, hard.sum()

    expected, num_hard = expect(main, aux)
    assert 9 < num_hard < 128
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_array_equal(predictions, resize.resize(main, (16, 16)).argmax(-1))


@pytest.mark.slow
def test_training_with_all_augmentations():
    """Stripes across, stripes down and plain tiles are told apart all the same."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, (8, 2, 2)).repeat(32, 1).repeat(32, 2).astype(np.int32)
    y, x = np.mgrid[:64, :64] // 4 % 2 * 150
    light = np.choose(labels, [y, x, 75 + 0 * x])[..., None]
    images = (light + rng.integers(0, 50, (8, 64, 64, 3))).astype(np.uint8)
    batch = {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
    train_step, state = make(log_every=20, data=EVERYTHING)
    right = []
    for _ in range(200):
        state, found = train_step(state, batch)
        confusion = np.asarray(found["confusion"])
        right.append(np.trace(confusion) / confusion.sum())
    assert right[0] < 0.5
    assert right[-1] > 0.65


def relative_errors(found, expected):
    """Of each array, by name."""
    return {
        name: float(jnp.linalg.norm(found[name] - value) / jnp.linalg.norm(value))
        for name, value in expected.items()
    }


WEIGHED = {"class_weights": (0.5, 1.0, 3.0), "label_smoothing": 0.1}


def test_parts_give_the_gradient_of_the_whole_batch(batch):
    labels = batch["labels"].at[0].set(255)  # parts differ in the pixels that count
    batch = batch | {"labels": labels.at[1, 10:].set(2)}
    ends = []
    for accumulate in (1, 4):
        train_step, state = make(
            freeze_bn=True,
            optimizer="sgd",
            loss=WEIGHED,
            dropout=0.0,
            train={"accumulate": accumulate},
        )
        before = copied(state.params)
        state, found = train_step(state, batch)
        moved = {name: value - before[name] for name, value in state.params.items()}
        ends.append((moved, found))
    (whole, expected), (parts, found) = ends
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), 1e-5)
    np.testing.assert_array_equal(found["confusion"], expected["confusion"])
    assert max(relative_errors(parts, whole).values()) < 1e-4


@pytest.mark.slow
def test_batch_norm_sees_each_part_by_itself(batch):
    statistics = []
    for accumulate in (1, 2):
        train_step, state = make(train={"accumulate": accumulate})
        before = copied(state.stats)
        state, _ = train_step(state, batch)
        statistics.append({n: (before[n], np.array(v)) for n, v in state.stats.items()})
    name = "backbone.bn1.mean"  # of the first layer, whose input is the same
    start, whole = statistics[0][name]
    _, parts = statistics[1][name]
    # A whole batch of mean m moves them by 0.1 (m - start); two halves of means a and
    # b by 0.1 (b - start) + 0.09 (a - start), about 0.19 (m - start).
    np.testing.assert_allclose((parts - start) / (whole - start), 1.9, atol=0.05)


def test_moving_average(batch):
    train_step, state = make(train={"ema": 0.2})
    expected = copied(state.params | state.stats)
    assert state.ema.keys() == expected.keys()
    for t in range(4):
        state, _ = train_step(state, batch)
        decay = min(0.2, (1 + t) / (10 + t))
        new = state.params | state.stats
        expected = {n: decay * v + (1 - decay) * new[n] for n, v in expected.items()}
    assert max(relative_errors(state.ema, expected).values()) < 1e-5
    assert state.averaged.keys() == state.variables.keys()


@pytest.mark.parametrize(
    "backend", ["cpu", pytest.param("gpu", marks=pytest.mark.slow)]
)
def test_a_step_that_is_not_finite_only_counts(batch, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    tiny = {"mean": (0.0,) * 3, "std": (1e-37,) * 3}  # what is not black is infinite
    train = {"accumulate": 2, "ema": 0.9}
    train_step, state = make(train=train, data=tiny, log_every=4)
    before = jax.tree.map(np.array, state)
    state, found = train_step(state, batch)
    assert not found["finite"]
    assert np.isnan(found["loss"])  # of no step at all
    assert int(state.step) == 1
    moved = []
    for old, new in zip(
        jax.tree.leaves(dataclasses.replace(before, step=0)),
        jax.tree.leaves(dataclasses.replace(state, step=0)),
        strict=True,
    ):
        if np.any(old != new):
            moved.append(int(new) - int(old))
    assert moved
    assert set(moved) == {1}  # the optimizer's own counts, and nothing else
    state, found = train_step(state, batch | {"images": 0 * batch["images"]})
    assert found["finite"]
    assert np.isfinite(found["loss"])
    assert float(found["loss"]) == float(found["step_loss"])
