"""Copies that are whole or not there, and what a mirror of a dataset holds."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from datalad_slurm.dataset import transfer
from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.transfer import copy_file, copy_link, has_same_stamp, move, stamp
from datalad_slurm.jobs.errors import InvalidRequestError, TransferError


@pytest.fixture(params=["same", "other"])
def elsewhere(request, tmp_path):
    """Yield a directory on the same, and one on another file system."""
    if request.param == "same":
        (tmp_path / "elsewhere").mkdir()
        yield tmp_path / "elsewhere"
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm")
    path = Path(f"/dev/shm/{tmp_path.name}-{os.getpid()}-{time.time_ns()}")
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


@pytest.mark.parametrize("mode", [0o444, 0o555, 0o644, 0o755])
def test_a_copy_has_content_time_and_mode_and_can_be_written(tmp_path, elsewhere, parts, mode):
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_bytes(os.urandom(3 * 2**20 + 1))
    source.chmod(mode)
    os.utime(source, ns=(1, 1_600_000_000_123_456_789))
    copy_file(source, target, parts, verify=True)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == mode | 0o600
    assert has_same_stamp(stamp(target), stamp(source))
    assert target.stat().st_ino != source.stat().st_ino
    assert list(parts.iterdir()) == [] and list(elsewhere.iterdir()) == [target]


def test_writing_to_a_copy_leaves_the_original_alone(tmp_path, elsewhere, parts):
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_text("original\n")
    copy_file(source, target, parts)
    with target.open("a") as file:
        file.write("more\n")
    assert source.read_text() == "original\n"


def test_a_copy_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path, elsewhere, parts):
    (tmp_path / "source").write_text("new\n")
    (tmp_path / "object").write_text("old\n")
    (elsewhere / "target").symlink_to(tmp_path / "object")
    copy_file(tmp_path / "source", elsewhere / "target", parts)
    assert not (elsewhere / "target").is_symlink()
    assert (tmp_path / "object").read_text() == "old\n"


def write_while_copying(source):
    def copied(*args):
        source.write_text("longer than before\n")
        return False

    return copied


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (write_while_copying, "changed while it was copied"),
        (lambda source: lambda *args: False, "not as long as"),
        (lambda source: lambda _, sink: os.write(sink, b"0LD\n") and False, "does not hold what"),
    ],
    ids=["changes", "short", "other content"],
)
def test_a_copy_that_is_not_whole_leaves_the_target_as_it_was(
    tmp_path, elsewhere, parts, monkeypatch, broken, said
):
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_text("old\n")
    target.write_text("before\n")
    monkeypatch.setattr(transfer, "_copy_content", broken(source))
    with pytest.raises(TransferError, match=said):
        copy_file(source, target, parts, verify=True)
    assert target.read_text() == "before\n"
    assert list(parts.iterdir()) == [] and list(elsewhere.iterdir()) == [target]


def test_a_full_disk_leaves_the_target_as_it_was_and_names_both(tmp_path, elsewhere, parts):
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_bytes(os.urandom(200_000))
    target.write_text("before\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TransferError) as caught:
            copy_file(source, target, parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{source} cannot be copied to {target}: File too large" in str(caught.value)
    assert target.read_text() == "before\n"
    assert list(parts.iterdir()) == [] and list(elsewhere.iterdir()) == [target]


def test_a_part_that_a_killed_copy_has_left_does_not_matter(tmp_path, elsewhere, parts):
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_text("whole\n")
    left = transfer.place_of_part(target, parts)
    left.write_text("ha")
    copy_file(source, target, parts)
    assert target.read_text() == "whole\n"
    assert not left.exists()


def test_a_special_file_is_not_copied(tmp_path, parts):
    with pytest.raises(TransferError, match="no plain file"):
        copy_file(Path("/dev/null"), tmp_path / "target", parts)
    assert not (tmp_path / "target").exists()


def test_files_and_links_are_moved_as_they_are(tmp_path, elsewhere, parts):
    (tmp_path / "file").write_text("content")
    (tmp_path / "file").chmod(0o440)
    os.utime(tmp_path / "file", ns=(1, 1_600_000_000_123_456_789))
    (tmp_path / "link").symlink_to("nowhere")
    before = stamp(tmp_path / "file")
    for name in ("file", "link"):
        move(tmp_path / name, elsewhere / name, parts)
        move(elsewhere / name, tmp_path / f"{name}.back", parts)
    assert (tmp_path / "file.back").read_text() == "content"
    assert (tmp_path / "file.back").stat().st_mode & 0o777 == 0o440
    assert has_same_stamp(stamp(tmp_path / "file.back"), before)
    assert (tmp_path / "link.back").readlink() == Path("nowhere")
    assert not any(os.path.lexists(d / n) for d in (tmp_path, elsewhere) for n in ("file", "link"))
    assert list(parts.iterdir()) == []


def test_what_cannot_be_moved_stays_and_is_named(tmp_path, parts):
    (tmp_path / "file").write_text("content")
    with pytest.raises(TransferError, match=r"file cannot be moved to .*gone/file"):
        move(tmp_path / "file", tmp_path / "gone" / "file", parts)
    assert (tmp_path / "file").read_text() == "content"


def test_a_link_takes_the_place_of_a_file(tmp_path, parts):
    (tmp_path / "target").write_text("1\n")
    copy_link("../some where", tmp_path / "target", parts)
    assert (tmp_path / "target").readlink() == Path("../some where")
    assert stamp(tmp_path / "target") == ("../some where",)


@pytest.mark.parametrize(
    ("copy", "original", "same"),
    [
        ((5, 1_500_000_000), (5, 1_500_000_000), True),
        ((5, 1_000_000_000), (5, 1_500_000_000), True),
        ((5, 1_500_000_000), (5, 1_000_000_000), False),
        ((5, 1_500_000_000), (6, 1_500_000_000), False),
        ((5, 2_000_000_000), (5, 1_500_000_000), False),
        (("a",), ("a",), True),
        (("a",), ("b",), False),
        (("a",), (5, 1), False),
        (None, (5, 1), False),
        (None, None, False),
    ],
)
def test_stamps_are_compared_as_far_as_file_systems_keep_them(copy, original, same):
    assert has_same_stamp(copy, original) is same


def mirror_of(root, *paths):
    mirror = Mirror(root)
    for path in paths:
        mirror.add(path)
    return mirror


def test_a_mirror_holds_annexed_files_as_files_and_directories_whole(box):
    (box.path / "d/e").mkdir(parents=True)
    (box.path / "d/annexed").write_text("1\n")
    (box.path / "d/e/deep").write_text("2\n")
    box.cli("save", "-m", "x")
    (box.path / "d/new").write_text("3\n")
    (box.path / "beside").write_text("4\n")
    assert (box.path / "d/annexed").is_symlink()
    mirror = mirror_of(box.path, "d")
    assert set(mirror.files) == {"d/annexed", "d/e/deep", "d/new"}
    assert all(source.is_file() and not source.is_symlink() for source in mirror.files.values())
    assert mirror.all_directories() == ["d", "d/e"]
    assert mirror.tops == {"d"}


def test_git_directories_are_no_part_of_a_mirror(box):
    subprocess.run(["git", "init", "-q", box.path / "sub"], check=True)
    (box.path / "sub/file").write_text("1\n")
    assert not any(".git" in path.split("/") for path in mirror_of(box.path, "").files)
    assert "sub/file" in mirror_of(box.path, "").files
    with pytest.raises(InvalidRequestError, match="inside a git directory"):
        mirror_of(box.path, ".git/config")


def test_links_to_directories_stay_links_and_round_trips_end(tmp_path):
    for name in ("data/v1", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("1\n")
    (tmp_path / "data/latest").symlink_to("v1")
    (tmp_path / "data/up").symlink_to("..")
    (tmp_path / "data/aside").symlink_to(tmp_path / "other")
    (tmp_path / "other/back").symlink_to("../data")
    (tmp_path / "file link").symlink_to("data/v1/file")
    mirror = mirror_of(tmp_path, "data", "file link")
    assert mirror.links == {
        "data/latest": "v1",
        "data/up": "..",
        "data/aside": "../other",
        "other/back": "../data",
    }
    assert set(mirror.files) == {"data/v1/file", "other/file", "file link"}


def test_a_path_through_a_link_is_mirrored_with_the_link(tmp_path):
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "real/sub/file").write_text("1\n")
    (tmp_path / "link").symlink_to("real")
    mirror = mirror_of(tmp_path, "link/sub/file")
    assert mirror.links == {"link": "real"}
    assert set(mirror.files) == {"real/sub/file"}
    assert mirror.tops == {"real/sub/file"}


def test_a_link_out_of_the_dataset_arrives_as_what_it_leads_to(tmp_path):
    root = tmp_path / "ds"
    root.mkdir()
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/file").write_text("1\n")
    (root / "link").symlink_to(tmp_path / "out")
    mirror = mirror_of(root, "link")
    assert mirror.files == {"link/deep/file": tmp_path / "out/deep/file"}
    assert mirror.links == {}
    (tmp_path / "out/deep/round").symlink_to("..")
    with pytest.raises(InvalidRequestError, match="'link/deep/round' leads round in a circle"):
        mirror_of(root, "link")


def make_fifo(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("gone"), "'d/x' is a link to nothing"),
        (lambda path: path.symlink_to("x"), "'d/x' is a link to nothing"),
        (make_fifo, "'d/x' is neither a file nor a directory"),
    ],
    ids=["dangling", "to itself", "named pipe"],
)
@pytest.mark.parametrize("asked", ["d", "d/x"])
def test_what_cannot_be_copied_is_refused_by_name(tmp_path, make, said, asked):
    (tmp_path / "d").mkdir()
    make(tmp_path / "d/x")
    with pytest.raises(InvalidRequestError, match=said):
        mirror_of(tmp_path, asked)


def test_what_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidRequestError, match="'no/such' is not there"):
        (tmp_path / "no").mkdir()
        mirror_of(tmp_path, "no/such")


def test_odd_names_are_mirrored_as_they_are(tmp_path):
    names = ["new\nline", "-dash", "quote'\"", os.fsdecode(b"\xff\xfe"), " "]
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / "d" / name).write_text("1\n")
    assert set(mirror_of(tmp_path, "d").files) == {f"d/{name}" for name in names}
