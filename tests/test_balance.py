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
