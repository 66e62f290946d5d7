"""Everything in this folder runs on the real Slurm of the testbed."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(autouse=True)
def _on_real_slurm(slurm) -> None:
    """Give every test here the testbed, whether it names it or not."""
