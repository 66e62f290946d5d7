"""Jobs in containers: the image is fetched before submission, and recorded."""

from __future__ import annotations

import pytest

from tests.conftest import Box
from tests.slurm.test_schedule import finish

pytest.importorskip("datalad_container")


@pytest.fixture
def registered(box):
    """A dataset with a container whose image is a script that runs its arguments."""
    image = box.path / "images/my tool.img"
    image.parent.mkdir()
    image.write_text('#!/bin/sh\necho "in the container: $*"\n')
    image.chmod(0o755)
    box.cli("save", "-m", "image")
    box.cli("containers-add", "tool", "--image", "images/my tool.img", "--call-fmt", "{img} {cmd}")
    return box


def test_the_image_is_fetched_before_submission_and_recorded(registered, slurm, tmp_path):
    registered.cli("clone", str(registered.path), str(tmp_path / "clone"), cwd=tmp_path)
    there = Box(tmp_path / "clone")
    image = there.path / "images/my tool.img"
    assert not image.exists()
    there.script('sh "$1" hello > out')
    there.cli(
        "slurm-schedule", "--container-name", "tool", "-o", "out", "sbatch", "job.sh", "{img}"
    )
    assert image.exists()
    (job,) = there.tracked()
    slurm.wait(job)
    results = finish(there)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (there.path / "out").read_text() == "in the container: hello\n"
    message = there.git("log", "-1", "--format=%B")
    assert '"extra_inputs": [\n  "images/my tool.img"\n ]' in message
    assert '"container": "tool"' in message
    there.cli("slurm-reschedule")
    (again,) = there.tracked()
    slurm.wait(again)
    results = finish(there)
    assert {res["status"] for res in results} == {"ok"}, results


def test_an_unknown_container_is_refused_by_name(registered, slurm):
    done = registered.cli(
        "slurm-schedule", "--container-name", "nope", "-o", "out", "sbatch", "--wrap", "true",
        code=1,
    )  # fmt: skip
    assert "there is no container 'nope'" in done.stdout
    assert registered.tracked() == []
