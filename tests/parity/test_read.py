"""Files that torch writes, read without it."""

import io
import zipfile

import mutations
import numpy as np
import pytest

from jaxseg import errors
from jaxseg.pretrained import read

torch = pytest.importorskip("torch", reason="compares with what torch itself reads")


@pytest.mark.parametrize("is_zip", [True, False])
def test_equals_torch(tmp_path, is_zip):
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    state = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    ).state_dict()
    state |= {
        "view": base[1::2, 2:5],
        "transposed": base.T,
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "parameter": torch.nn.Parameter(base),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "bool": base > 0,
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "uint16": (base.abs() * 100).to(torch.uint16),
    }
    state |= {f"int{n}": (base * 10).to(getattr(torch, f"int{n}")) for n in (8, 16, 32)}
    checkpoint = {
        "model": state,
        "optimizer": {"state": {0: base}},
        "lr": np.float64(1),
    }
    path = tmp_path / "a.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=is_zip)
    found = read.read_weights(path)
    assert list(found) == list(state)
    for name, value in state.items():
        assert str(found[name].dtype) == str(value.dtype).removeprefix("torch.")
        expected = value.detach()
        if expected.dtype == torch.bfloat16:
            expected = expected.float()
        np.testing.assert_array_equal(
            found[name].astype(expected.numpy().dtype), expected.numpy()
        )
    assert np.shares_memory(found["transposed"], found["parameter"])


def test_torch_programs_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(errors.UserError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read.read_weights(path)
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=False)
    with pytest.raises(errors.UserError, match=r"linear\.Linear"):
        read.read_weights(path)
    torch.save({"a": torch.zeros(3, dtype=torch.complex64)}, path)
    with pytest.raises(errors.UserError, match=r"torch\.ComplexFloatStorage"):
        read.read_weights(path)


def test_numpy_and_protocol_variants(tmp_path):
    path = tmp_path / "a.pth"
    for protocol in (2, 3, 4, 5):
        buffer = io.BytesIO()
        value = {"a": torch.ones(3), "names": {"x"}, "array": np.ones(3), "b": b"x"}
        torch.save(value, buffer, pickle_protocol=protocol)
        path.write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(read.read_weights(path)["a"], np.ones(3))


def mutated(rng, content, pieces):
    """A file of torch's with changed opcodes, or other bytes."""
    if not content.startswith(b"PK") or rng.integers(3) == 0:
        return mutations.change_bytes(rng, content, donor=content)
    buffer = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(content))
    with source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/data.pkl"):
                data = mutations.change_pickle(rng, data, pieces)
            target.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # of strange protocols
@pytest.mark.parametrize("is_zip", [True, False])
def test_what_both_read_of_mutated_files_is_equal(tmp_path, is_zip):
    base = torch.arange(12.0).reshape(3, 4)
    state = {"a": base, "t": base.T, "row": base[1], "h": torch.ones(5).half()}
    buffer, path = io.BytesIO(), tmp_path / "a.pth"
    torch.save({"state_dict": state}, buffer, _use_new_zipfile_serialization=is_zip)
    pieces, both = mutations.hostile(tmp_path / "ran"), 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        path.write_bytes(mutated(rng, buffer.getvalue(), pieces))
        try:
            theirs = torch.load(path, weights_only=True)["state_dict"]
            ours = read.read_weights(path)
        except Exception:  # torch's are many
            continue
        tensors = {k: v for k, v in theirs.items() if isinstance(v, torch.Tensor)}
        assert ours.keys() == tensors.keys(), seed
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(ours[name], tensor.numpy(), err_msg=f"{seed}")
        both += 1
    assert both > 20
    assert not (tmp_path / "ran").exists()
