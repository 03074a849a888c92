"""Saving, keeping and restoring."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import checkpoint, errors, sharding


def save_all(folder, scores, keep=2):
    checkpoints = checkpoint.Checkpoints(folder, keep=keep)
    for step, miou in scores.items():
        model = {"head.kernel": jnp.full((2, 3), float(step))}
        training = {"step": jnp.int32(step), "moments": (jnp.ones(2),)}
        checkpoints.save(step, model=model, training=training, miou=miou)
    checkpoints.close()
    return checkpoint.Checkpoints(folder, keep=keep)


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {1: 0.2, 2: 0.5, 3: None, 4: 0.3, 5: None, 6: 0.1}
    checkpoints = save_all(tmp_path, scores)
    assert checkpoints.steps == [2, 5, 6]
    assert checkpoints.best_step == 2
    checkpoints.close()


def test_without_evaluation_the_latest_is_the_best(tmp_path):
    checkpoints = save_all(tmp_path, {1: None, 2: None})
    assert checkpoints.best_step == 2
    checkpoints.close()


def test_parts_come_back(tmp_path):
    checkpoints = save_all(tmp_path, {7: 0.5})
    template = {"model": {"head.kernel": jnp.zeros((2, 3))}}
    saved = checkpoints.restore(7, template, sharding.make_mesh())
    np.testing.assert_array_equal(saved["model"]["head.kernel"], np.full((2, 3), 7.0))
    checkpoints.close()


@pytest.mark.parametrize(
    ("step", "shape", "told"), [(3, (2, 3), "it has 7"), (7, (2, 4), "does not fit")]
)
def test_what_does_not_fit_is_told(tmp_path, step, shape, told):
    checkpoints = save_all(tmp_path, {7: 0.5})
    template = {"model": {"head.kernel": jnp.zeros(shape)}}
    with pytest.raises(errors.UserError, match=told) as raised:
        checkpoints.restore(step, template, sharding.make_mesh())
    assert "\n" not in str(raised.value)
    checkpoints.close()


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
    save_all(tmp_path, {7: 0.5}).close()
    unfinished = tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp"
    unfinished.mkdir()
    checkpoint.Checkpoints(tmp_path, keep=2).close()
    assert unfinished.exists()  # another process may be writing it
    checkpoint.remove_unfinished(tmp_path)
    assert not unfinished.exists()
    assert checkpoint.exists(tmp_path)
