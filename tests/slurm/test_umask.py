"""Our own files follow the user's umask, and stay in the git directory."""

from __future__ import annotations

import os
import stat

import pytest

from tests.slurm.test_schedule import finish, schedule


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


_NOTES_MODES = """
find .git/datalad-slurm -printf '%m %y %p\\n' >> {notes} 2> /dev/null
exec "$real" "$@"
"""


def test_our_files_follow_the_umask_at_any_time(box, slurm, stand_in, tmp_path, umask):
    notes = tmp_path / "modes"
    state = box.path / ".git/datalad-slurm"
    for program in ("git", "sbatch", "squeue", "sacct"):
        stand_in(program, _NOTES_MODES.format(notes=notes))
    command = "sbatch --wrap 'echo {tmpdir} > out; echo x > {tmpdir}/x'"
    job = schedule(box, command)
    found = {
        path.relative_to(state): (stat.S_IMODE(path.stat().st_mode), path.is_dir())
        for path in state.rglob("*")
    }
    assert {str(path).partition("/")[0] for path in found} == {
        "submissions", "tmp", "tracking.sqlite",
    }  # fmt: skip
    for path, (mode, is_directory) in found.items():
        assert mode == (0o777 if is_directory else 0o666) & ~umask, path
    slurm.wait(job)
    finish(box)
    seen = set()
    for line in notes.read_text().splitlines():
        mode, _, path = line.split(" ", 2)
        seen.add(path.removeprefix(".git/datalad-slurm").strip("/").partition("/")[0])
        assert int(mode, 8) & umask == 0, line
        assert int(mode, 8) & 0o002 == 0, line
    assert {"submissions", "tmp", "tracking.sqlite"} < seen
    assert any(name.startswith("staging.index") for name in seen)


def test_the_temporary_directory_lies_in_the_git_directory_until_the_job_is_committed(box, slurm):
    job = schedule(box, "sbatch --wrap 'echo {tmpdir} > out; echo x > {tmpdir}/x'")
    (directory,) = (box.path / ".git/datalad-slurm/tmp").iterdir()
    slurm.wait(job)
    assert (box.path / "out").read_text() == f"{directory}\n"
    assert (directory / "x").exists()
    box.cli("slurm-finish", "--list-open-jobs")
    assert directory.exists()
    finish(box)
    assert not directory.exists()
    assert box.status() == ""


def test_the_temporary_directory_of_a_refused_submission_goes(box, slurm):
    box.cli("slurm-schedule", "-o", "out", "sbatch --nosuch --wrap 'ls {tmpdir}'", code=1)
    assert box.tracked() == []
    assert list((box.path / ".git/datalad-slurm/tmp").iterdir()) == []
