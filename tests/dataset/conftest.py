"""Fixtures that several tests of the dataset use."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """An empty split, ROOT/train."""
    return tmp_path / "set" / "train"
