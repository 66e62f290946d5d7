"""Packs that are written here are those that git would write."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

from datalad_slurm.dataset import pack_store, packfile
from datalad_slurm.dataset.blobs import write_blobs
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.pack_store import PackedObject, drop_keeps
from datalad_slurm.dataset.packfile import Packfile, copied, inserted, sizes
from datalad_slurm.jobs.errors import DatasetError

MANY = [b"content %d\n" % number * number for number in range(150)]


def git(repo: Repo, *args: str, stdin: bytes | None = None) -> bytes:
    argv = ["git", "-C", repo.root, *args]
    return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(params=["sha1", "sha256"])
def repo(request, tmp_path) -> Repo:
    made = Repo(tmp_path / "repo")
    subprocess.run(
        ["git", "init", "--quiet", f"--object-format={request.param}", made.root], check=True
    )
    return made


def packs(repo: Repo) -> list[Path]:
    return sorted((repo.git_dir / "objects/pack").iterdir())


def filled(repo: Repo, contents=MANY) -> Packfile:
    """Return a pack with contents, each second one as a difference."""
    pack = Packfile(repo)
    base = b""
    for number, content in enumerate(contents):
        oid = pack.identify("blob", [content])
        if number % 2:
            start = b"".join(copied(0, len(base) // 2))
            delta = sizes(len(base), len(content)) + start
            pack.write_delta(
                oid,
                pack.identify("blob", [base]),
                delta + b"".join(inserted(content[len(base) // 2 :])),
            )
        else:
            pack.write("blob", oid, content)
        base = content
    return pack


@pytest.mark.parametrize("in_memory", [2**20, 1000])
def test_the_index_of_a_pack_is_the_one_that_git_makes(repo, tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(packfile, "_IN_MEMORY", in_memory)
    random.seed(1)
    contents = [content + random.randbytes(300) for content in MANY]
    # a difference takes the first half of the one before
    contents = [
        contents[n - 1][: len(contents[n - 1]) // 2] + each if n % 2 else each
        for n, each in enumerate(contents)
    ]
    with filled(repo, contents).handed_over():
        (index, pack) = (path for path in packs(repo) if path.suffix != ".keep")
        made = tmp_path / "made.idx"
        assert git(repo, "index-pack", "-o", str(made), str(pack)).decode().strip() in pack.name
        assert index.read_bytes() == made.read_bytes()
    for content in contents:
        oid = git(repo, "hash-object", "--stdin", stdin=content).decode().strip()
        assert git(repo, "cat-file", "blob", oid) == content
    assert git(repo, "fsck", "--strict", "--no-dangling", "--no-progress") == b""
    assert [path.suffix for path in packs(repo)] == [".idx", ".pack"]


def test_objects_far_behind_are_found(repo):
    name = "sha256" if git(repo, "config", "--default", "", "extensions.objectFormat") else "sha1"
    size = 32 if name == "sha256" else 20
    offsets = [12, 2**31 - 1, 2**31, 2**31 + 5, 2**40]
    objects = {bytes([255 - n] * size): PackedObject(each, n) for n, each in enumerate(offsets)}
    index = pack_store._index_of(objects, bytes(size), name)
    told = git(repo, "show-index", f"--object-format={name}", stdin=index).decode().splitlines()
    assert told == [
        f"{place.offset} {oid.hex()} ({place.crc32:08x})" for oid, place in sorted(objects.items())
    ]


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize(
    "shared", ["", "umask", "group", "true", "yes", "off", "world", "0640", "660", "0600", "2"]
)
def test_a_pack_has_the_mode_that_git_gives_to_it(repo, tmp_path, umask, shared):
    if shared:
        git(repo, "config", "core.sharedRepository", shared)
    before = os.umask(umask)
    try:
        write_blobs(repo, MANY)
        (ours,) = {stat.S_IMODE(path.stat().st_mode) for path in packs(repo)}
        (pack,) = (path for path in packs(repo) if path.suffix == ".pack")
        content = pack.read_bytes()
        for path in packs(repo):
            path.unlink()
        git(repo, "index-pack", "--stdin", stdin=content)
        assert {stat.S_IMODE(path.stat().st_mode) for path in packs(repo)} == {ours}
    finally:
        os.umask(before)


def test_a_pack_is_kept_until_a_ref_leads_to_it(repo):
    with filled(repo).handed_over():
        (keep,) = (path for path in packs(repo) if path.suffix == ".keep")
        git(repo, "repack", "-a", "-d", "-q")
        assert keep.with_suffix(".pack").exists()
        with filled(repo).handed_over():  # the same once more, by somebody else
            pass
        assert keep.exists()
    assert not keep.exists()
    git(repo, "repack", "-a", "-d", "-q")
    assert packs(repo) == []


def test_what_a_killed_process_has_kept_is_let_go_of_but_nothing_else(repo):
    kept = filled(repo).handed_over()
    kept.__enter__()
    others = repo.git_dir / "objects/pack/pack-0123.keep"
    others.write_text("somebody else's")
    assert len([path for path in packs(repo) if path.suffix == ".keep"]) == 2
    drop_keeps(repo)
    assert [path for path in packs(repo) if path.suffix == ".keep"] == [others]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_of_a_pack_that_cannot_be_written_nothing_is_left(repo, monkeypatch, call, nth):
    function, count = getattr(os, call), 0

    def failing(*args, **kwargs):
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args, **kwargs)

    monkeypatch.setattr(os, call, failing)
    if (call, nth) in (("fsync", 3), ("replace", 3)):  # of the directory; there are but two
        assert len(write_blobs(repo, MANY)) == len(MANY)
        return
    with pytest.raises(DatasetError, match="git's objects cannot be written: No space left"):
        write_blobs(repo, MANY)
    assert packs(repo) == []


def test_few_objects_become_files_of_their_own(repo):
    oids = write_blobs(repo, MANY[:50])
    assert packs(repo) == []
    assert [git(repo, "cat-file", "blob", oid) for oid in oids] == MANY[:50]
