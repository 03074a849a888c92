"""Mutated weight files: read rightly or refused in one line, quickly, never run."""

import pickle
import time

import alone
import mutations
import numpy as np
import pytest

from jaxseg import errors
from jaxseg.pretrained import read

WHOLE = {"zip": 3400, "legacy": 3300, "safetensors": 3300}  # 10,000 in all
SECONDS = 5


def read_mutated(kind, seeds, folder):
    """Reads a file for each seed; returns the numbers of those read and refused.

    What is read is looked at to its last byte, as its strides may lead anywhere.
    """
    make, suffix = mutations.FORMATS[kind]
    witness, path = folder / "ran", folder / f"weights{suffix}"
    pieces = mutations.hostile(witness)
    done = {"read": 0, "refused": 0}
    for seed in seeds:
        path.write_bytes(make(np.random.default_rng([seed, len(suffix)]), pieces))
        told, begin = "", time.process_time()
        try:
            tensors = read.read_weights(path)
        except errors.UserError as error:
            told = str(error)
            done["refused"] += 1
        else:
            sums = [np.asarray(each, np.float64).sum() for each in tensors.values()]
            assert sums, f"seed {seed}"
            done["read"] += 1
        assert time.process_time() - begin < SECONDS, f"seed {seed}"
        assert errors.is_plain(told), f"seed {seed}"
        assert not witness.exists(), f"seed {seed} ran code"
    return done


@pytest.mark.parametrize("kind", WHOLE)
def test_some(tmp_path, kind):
    done = read_mutated(kind, range(10_000, 10_150), tmp_path)
    assert min(done.values()) > 5, done  # the mutations are neither idle nor too much


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHOLE)
def test_all(tmp_path, kind):
    seeds = range(WHOLE[kind])
    done, peak = alone.run(read_mutated, kind, seeds, tmp_path, most=4 * alone.GIB)
    assert sum(done.values()) == WHOLE[kind]
    assert peak < alone.GIB, peak


def test_the_witness_would_tell(tmp_path):
    """Python's own unpickler runs what the mutations hold."""
    witness = tmp_path / "ran"
    for piece in mutations.hostile(witness)[:4]:
        pickle.loads(b"\x80\x02" + piece + b".")
        assert witness.exists()
        witness.unlink()
