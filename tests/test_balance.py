"""Weights and rates against their formulas, worked out by hand."""

import math

import numpy as np

from jaxseg.data import balance

# Two examples of 100 and 50 counted pixels; class 3 is nowhere.
COUNTS = np.array([[80, 20, 0, 0], [25, 0, 25, 0]])


def test_median_frequency():
    frequencies = [105 / 150, 20 / 100, 25 / 50]  # where the class is shown
    median = 25 / 50
    expected = [median / f for f in frequencies] + [0]
    np.testing.assert_allclose(balance.median_frequency(COUNTS), expected)
    np.testing.assert_array_equal(balance.median_frequency(COUNTS * 0), np.zeros(4))


def test_inverse_log():
    expected = [1 / math.log(1.02 + n / 150) for n in (105, 20, 25, 0)]
    np.testing.assert_allclose(balance.inverse_log(COUNTS), expected)
    assert balance.inverse_log(COUNTS).max() < 50.5  # ENet: weights of 1 to 50


def test_class_shares():
    np.testing.assert_allclose(balance.class_shares(COUNTS) * 150, [105, 20, 25, 0])
    assert not balance.class_shares(COUNTS * 0).any()


def test_rare_class_rates():
    """Class 0 in examples 0 and 1, class 1 in none with 21 pixels, class 2 in one."""
    shares, temperature = np.array([105, 20, 25, 0]) / 150, 0.3
    chances = np.exp((1 - shares) / temperature)[[0, 2]]
    chances /= chances.sum()
    expected = 2 * np.array([chances[0] / 2, chances[0] / 2 + chances[1]])
    found = balance.rare_class_rates(COUNTS, temperature, 21)
    np.testing.assert_allclose(found, expected)
    assert not balance.rare_class_rates(COUNTS, temperature, 81).any()


def test_rare_class_rates_are_those_of_drawing_twice():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, (5, 4))
    shares = counts.sum(0) / counts.sum()
    chances = np.exp((1 - shares) / 0.1)
    classes = rng.choice(4, 20_000, p=chances / chances.sum())
    drawn = [rng.choice(np.flatnonzero(counts[:, c] >= 10)) for c in classes]
    found = np.bincount(drawn, minlength=5) / len(drawn)
    expected = balance.rare_class_rates(counts, 0.1, 10) / 5
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_rare_class_rates_at_the_published_temperature():
    found = balance.rare_class_rates(COUNTS, 0.01, 1)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(), 2)


def test_repeat_factors():
    counts = np.array([[9, 0, 0], [9, 1, 0], [9, 0, 0], [9, 0, 0], [0, 0, 0]])
    found = balance.repeat_factors(counts, 0.8)
    np.testing.assert_allclose(found, [1, math.sqrt(0.8 / 0.2), 1, 1, 1])
    np.testing.assert_array_equal(balance.repeat_factors(counts, 0.1), np.ones(5))
