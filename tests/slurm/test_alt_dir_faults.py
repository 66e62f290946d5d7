"""`--alt-dir`: outputs that cannot be brought back."""

from __future__ import annotations

import shutil

from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.workflow import bring_back
from tests.slurm.alt_dirs import assert_clean, content, messages
from tests.slurm.sweeps import jobs_in_history
from tests.slurm.test_schedule import finish, schedule


def test_a_directory_that_is_not_mounted_leaves_the_job_open(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)
    alt.rename(alt.parent / "away")
    alt.mkdir()
    (said,) = messages(finish(box))
    assert said.startswith(f"Slurm job {job} was not committed and is still open: {alt}/.datalad-")
    assert "may not be mounted here" in said
    assert box.tracked() == [job]
    alt.rmdir()
    (alt.parent / "away").rename(alt)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)


def test_outputs_that_are_lost_do_not_keep_a_job_open_for_ever(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)
    shutil.rmtree(alt)
    (alt / ".datalad-slurm").mkdir(parents=True)
    assert f"job {job} declared this output, but there is nothing" in messages(finish(box))
    assert box.tracked() == []


def test_something_else_in_the_place_of_an_output_leaves_the_job_open(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'mkdir d; echo 1 > d/out'", ["d/out"], alt_dir=str(alt))
    slurm.wait(job)
    (box.path / "d").rmdir() if (box.path / "d").exists() else None
    (box.path / "d").write_text("mine\n")
    (said,) = messages(finish(box))
    assert f"Slurm job {job} was not committed and is still open: 'd/out' cannot be brought" in said
    assert (box.path / "d").read_text() == "mine\n"
    assert (alt / "d/out").read_text() == "1\n"
    (box.path / "d").unlink()
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)


def test_a_copy_that_fails_leaves_that_job_open_and_names_it(box, slurm, alt, monkeypatch):
    jobs = [
        schedule(box, f"sbatch --wrap 'echo {n} > {n}'", [n], alt_dir=str(alt)) for n in ("a", "b")
    ]
    slurm.wait(*jobs)

    def fails(source, *args, **kwargs):
        if source.name == "a":
            raise TransferError(f"{source} cannot be copied: No space left on device")
        return real(source, *args, **kwargs)

    real = bring_back.copy_file
    with monkeypatch.context() as patch:
        patch.setattr(bring_back, "copy_file", fails)
        (said,) = messages(finish(box))
    assert said.startswith(f"Slurm job {jobs[0]} was not committed and is still open: {alt}/a ")
    assert jobs_in_history(box) == [jobs[1]]
    assert box.tracked() == [jobs[0]]
    assert content(alt) == ["a", f"slurm-{jobs[0]}.out"]
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == jobs
    assert_clean(box, alt)


def test_a_file_that_is_still_written_to_leaves_the_job_open(box, slurm, alt, monkeypatch):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)

    def written_to(source, *args, **kwargs):
        real(source, *args, **kwargs)
        with source.open("a") as file:
            file.write("late\n")

    real = bring_back.copy_file
    with monkeypatch.context() as patch:
        patch.setattr(bring_back, "copy_file", written_to)
        (said,) = messages(finish(box))
    assert f"{alt}/" in said and "changed while it was copied; is it still written to?" in said
    finish(box)
    assert (box.path / "out").read_text() == "1\nlate\n"
    assert_clean(box, alt)
