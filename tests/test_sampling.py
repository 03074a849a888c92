"""How often examples are drawn against the rates that ask for it."""

import numpy as np
import pytest
from PIL import Image
from test_examine import filled, write

from jaxseg import config, errors
from jaxseg.data import balance, combined, sampling, sources

RATES = np.array([1.0, 2.5, 0.0, 0.25, 1.25, 0.0])


def epochs(rates, count, seed=0):
    order, length = sampling.make_order(rates, seed), round(rates.sum())
    drawn = np.array([order[i] for i in range(count * length)])
    return drawn.reshape(count, length)


def test_each_epoch_keeps_the_rates_to_one():
    found = epochs(RATES, 40)
    for epoch in found:
        counts = np.bincount(epoch, minlength=6)
        assert (counts >= np.floor(RATES)).all()
        assert (counts <= np.ceil(RATES)).all()
    assert len({tuple(epoch) for epoch in found}) > 30


def test_frequencies():
    found = np.bincount(epochs(RATES, 60).ravel(), minlength=6) / 60
    spread = np.sqrt(RATES % 1 * (1 - RATES % 1) / 60)
    assert (np.abs(found - RATES) <= 4 * spread + 1e-12).all()


def test_a_sum_that_is_not_whole():
    rates = np.array([1.0, 1.2, 1.4])
    found = np.bincount(epochs(rates, 50).ravel(), minlength=3) / 50
    np.testing.assert_allclose(found, rates * 4 / 3.6, atol=0.15)


def test_seed():
    assert (epochs(RATES, 3) == epochs(RATES, 3)).all()
    assert (epochs(RATES, 3) != epochs(RATES, 3, seed=1)).any()


@pytest.fixture
def source(tmp_path):
    labels = [filled(0), filled(0, 1), filled(0, 0, 0, 2), filled(0)]
    return write(tmp_path / "data", labels)


def make_rates(source, cache=None, **data):
    return sampling.make_rates(source, config.Data(**data), num_classes=3, cache=cache)


def test_by_the_config(source):
    counts = np.array([[48, 0, 0], [24, 24, 0], [36, 0, 12], [48, 0, 0]])
    assert make_rates(source) is None
    np.testing.assert_allclose(
        make_rates(source, sampling="repeat_factor", repeat_threshold=0.9),
        balance.repeat_factors(counts, 0.9),
    )
    np.testing.assert_allclose(
        make_rates(source, sampling="rare_class", rare_pixels=12, rare_temperature=0.5),
        balance.rare_class_rates(counts, 0.5, 12),
    )
    with pytest.raises(errors.UserError, match="rare_pixels=3000"):
        make_rates(source, sampling="rare_class")


def test_counts_are_kept(source, tmp_path, capsys):
    cache = tmp_path / "class_counts.npy"
    first = make_rates(source, cache, sampling="repeat_factor")
    assert "counting the classes of 4 examples" in capsys.readouterr().out
    again = make_rates(source, cache, sampling="repeat_factor")
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(first, again)
    fewer = sources.Files(source.pairs[:3], source.label_map)
    assert len(make_rates(fewer, cache, sampling="repeat_factor")) == 3
    whole = cache.read_bytes()
    npz, objects = tmp_path / "a.npz", tmp_path / "b.npy"
    np.savez(npz, np.ones(3))
    np.save(objects, np.array([[print]], object), allow_pickle=True)
    huge = whole.replace(b"(3, 3), }       ", b"(3, 3000000), } ")
    assert huge != whole
    for spoiled in (b"", b"spoiled", npz.read_bytes(), objects.read_bytes(), huge):
        cache.write_bytes(spoiled)
        again = make_rates(source, cache, sampling="repeat_factor")
        np.testing.assert_array_equal(again, first)


def test_counts_of_what_has_changed_are_made_anew(source, tmp_path, capsys):
    cache = tmp_path / "class_counts.npy"
    make_rates(source, cache, sampling="repeat_factor")
    turned = sources.LabelMap({0: 2, 1: 1, 2: 0})
    label = source.pairs[3][1]
    other = Image.fromarray(filled(2))
    for change in (
        lambda: sources.Files(source.pairs, turned),
        lambda: sources.Files(source.pairs[::-1], source.label_map),
        lambda: other.save(label) or source,
    ):
        capsys.readouterr()
        changed = change()
        found = make_rates(changed, cache, sampling="repeat_factor")
        assert "counting the classes of 4" in capsys.readouterr().out
        np.testing.assert_array_equal(
            found, make_rates(changed, sampling="repeat_factor")
        )


def test_weights_of_parts():
    rates = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0])
    found = sampling.weigh_parts(rates, [4, 2], [1.0, 3.0])
    np.testing.assert_allclose(found, [0.375] * 4 + [4.5 * 0.75, 4.5 * 0.25])


def test_mixed_data_sets(source, tmp_path):
    other = write(tmp_path / "other", [filled(0, 1), filled(2)])
    joined = combined.Joined([source, other])
    assert make_rates(joined) is None
    found = make_rates(joined, mix=("other",), mix_weights=(1.0, 1.0))
    np.testing.assert_allclose(found, [0.75] * 4 + [1.5] * 2)
    rare = make_rates(
        joined, sampling="rare_class", rare_pixels=1, mix_weights=(1.0, 2.0)
    )
    np.testing.assert_allclose([rare[:4].sum(), rare[4:].sum()], [2, 4])


def test_unreadable_example(source):
    source.pairs[1][0].write_bytes(b"")
    with pytest.raises(errors.UserError, match=r"1\.png cannot be read"):
        make_rates(source, sampling="repeat_factor")
    skipping = make_rates(source, sampling="repeat_factor", on_error="skip")
    assert len(skipping) == 4
