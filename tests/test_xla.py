"""What is set before JAX starts, and that the user's own choice stands."""

import os

import pytest

from jaxseg import xla

NAMES = (
    *("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"),
    "JAXSEG_CACHE",
)


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
        monkeypatch.delenv(name)


def test_defaults(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    xla.set_flags()
    xla.set_flags()
    first, second = os.environ["XLA_FLAGS"].split()
    assert first == "--xla_force_host_platform_device_count=2"
    assert second.startswith("--xla_cpu_experimental_ynn_fusion_type=")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(str(tmp_path / "xla"))


def test_the_users_choice_stands(monkeypatch):
    chosen = "--xla_cpu_experimental_ynn_fusion_type=-individual_dot"
    monkeypatch.setenv("XLA_FLAGS", chosen)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    xla.set_flags()
    assert os.environ["XLA_FLAGS"] == chosen
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    # JAX cannot limit a folder that was filled without a limit.
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ


@pytest.mark.parametrize("version", ["0.9.2", "0.11.0"])
def test_no_flag_that_another_version_may_not_know(monkeypatch, version):
    monkeypatch.setattr(xla.importlib.metadata, "version", lambda name: version)
    xla.set_flags()
    assert "XLA_FLAGS" not in os.environ
