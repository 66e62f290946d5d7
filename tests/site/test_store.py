"""Archived files: whole, written once, and readable for those who may."""

from __future__ import annotations

import errno
import grp
import os
import shutil
import stat
import subprocess

import pytest

from datalad_slurm.jobs.acl import ACCESS, DEFAULT, directory_acl
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.site_archive import Submitted
from datalad_slurm.site import store as store_module
from datalad_slurm.site.accounts import Owner, owner_of_id, owner_of_name, read_groups
from datalad_slurm.site.store import Store

JOE = Owner("joe", 4001)
JULY = 1_752_000_000.0


@pytest.fixture
def root(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def store(root):
    store = Store(root, [5])
    yield store
    store.close()


def job(job_id=12, script=b"#!/bin/sh\n", **variables):
    strings = tuple(f"{name}={value}".encode() for name, value in variables.items())
    return Submitted(job_id, JULY, script, strings)


def entries(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_job_is_written_once(store, root):
    directory = "joe/2025/07"
    submitted = job(SLURM_JOB_NAME="a", X="1")
    paths = store.put(submitted, JOE)
    assert paths == [f"{directory}/12-a.env", f"{directory}/12-a.sh"]
    assert (root / paths[0]).read_text() == "export SLURM_JOB_NAME=a\nexport X=1\n"
    assert (root / paths[1]).read_text() == "#!/bin/sh\n"
    assert store.put(submitted, JOE) == []
    assert entries(root / directory) == ["12-a.env", "12-a.sh"]


def test_what_a_kill_has_left_out_is_written_and_what_it_has_left_is_removed(root):
    store = Store(root, [])
    submitted = job()
    _, script = store.put(submitted, JOE)
    month = (root / script).parent
    (root / script).rename(month / ".part")
    store.close()
    store = Store(root, [])
    assert entries(month) == ["12-sbatch.env"]
    assert store.put(submitted, JOE) == [script]
    assert entries(month) == ["12-sbatch.env", "12-sbatch.sh"]
    store.close()


def test_a_file_has_its_name_only_when_it_is_whole_and_on_the_disk(store, root, monkeypatch):
    synced = []
    fsync = os.fsync

    def seen(descriptor):
        assert not list(root.rglob("*.sh")) or synced
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", seen)
    paths = store.put(job(), JOE)
    assert [(root / path).stat().st_ino for path in paths] == synced


def test_a_write_that_fails_leaves_nothing_behind(store, root, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.put(job(), JOE)
    assert entries(root / "joe/2025/07") == []
    assert len(store.put(job(), JOE)) == 2


def test_another_job_of_the_same_id_never_takes_the_place_of_the_first(store, root):
    first, second = job(script=b"1"), job(script=b"2")
    store.put(first, JOE)
    assert store.put(second, JOE)[1] == "joe/2025/07/12-sbatch.2.sh"
    assert store.put(first, JOE) == store.put(second, JOE) == []
    assert (root / "joe/2025/07/12-sbatch.sh").read_bytes() == b"1"
    assert (root / "joe/2025/07/12-sbatch.2.sh").read_bytes() == b"2"


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_user_and_groups_read_and_nobody_else_or_writes(store, root, umask):
    before = os.umask(umask)
    try:
        paths = store.put(job(), JOE)
    finally:
        os.umask(before)
    wanted = directory_acl([4001], [5])
    for directory in ("joe", "joe/2025", "joe/2025/07"):
        for name in (ACCESS, DEFAULT):
            assert os.getxattr(root / directory, name) == wanted
    for path in paths:
        found = (root / path).stat()
        # of what the directory hands down, the mask (the group's place) leaves reading
        assert stat.S_IMODE(found.st_mode) == 0o440
        assert found.st_uid == os.getuid()
        reading = wanted.replace(b"\1\0\7\0", b"\1\0\4\0").replace(b"\x10\0\5\0", b"\x10\0\4\0")
        assert os.getxattr(root / path, ACCESS) == reading


@pytest.mark.skipif(os.getuid() != 0, reason="becomes other users")
@pytest.mark.parametrize(
    ("user", "groups", "may_read"),
    [(4001, [], True), (4002, [5], True), (4002, [4001, 0], False)],
)
def test_who_may_read_can_and_who_may_not_cannot(root, user, groups, may_read):
    before = os.umask(0o077)
    try:
        store = Store(root, [5])
        _, script = store.put(job(), JOE)
        store.close()
    finally:
        os.umask(before)

    def run(*argv):
        # who cannot enter the directories above still stands in this one
        return subprocess.run(
            argv, cwd=root, user=user, group=user, extra_groups=groups, capture_output=True,
            check=False,
        )  # fmt: skip

    read = run("cat", script)
    assert (read.stdout, read.returncode) == ((b"#!/bin/sh\n", 0) if may_read else (b"", 1))
    for change in (("rm", "-f", script), ("sh", "-c", f"echo >> {script}"), ("touch", "joe/x")):
        assert run(*change).returncode != 0


def test_other_groups_count_for_all_directories_at_once(store, root):
    store.put(job(), JOE)
    store.put(job(), Owner("@unknown"))
    store.regroup([6, 7])
    for user, ids in (("joe", [4001]), ("@unknown", [])):
        for directory in (user, f"{user}/2025", f"{user}/2025/07"):
            assert os.getxattr(root / directory, DEFAULT) == directory_acl(ids, [6, 7])
            assert os.getxattr(root / directory, ACCESS) == directory_acl(ids, [6, 7])


def test_directories_of_others_in_the_archive_stay_as_they_are(root):
    (root / "lost+found/x").mkdir(parents=True)
    (root / ".git/x").mkdir(parents=True)
    store = Store(root, [5])
    assert not [path for path in root.rglob("*") if DEFAULT in os.listxattr(path)]
    store.close()


def test_a_directory_that_was_removed_is_made_again(store, root):
    store.put(job(1), JOE)
    shutil.rmtree(root / "joe")
    with pytest.raises(FileNotFoundError):
        store.put(job(2), JOE)
    store.forget_directories()
    store.put(job(2), JOE)
    assert os.getxattr(root / "joe", DEFAULT) == directory_acl([4001], [5])


def test_only_one_process_writes_an_archive(store, root):
    with pytest.raises(InvalidRequestError, match=f"another slurm-archive writes to {root}"):
        Store(root, [])


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("file", "cannot be used as an archive: .*; make it, or correct --to"),
        ("no/such", "cannot be used as an archive: No such file or directory"),
        ("/proc", "without POSIX access control lists|cannot be written by this account"),
    ],
)
def test_a_place_that_cannot_be_an_archive_is_refused_in_one_sentence(tmp_path, where, said):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match=said) as caught:
        Store(tmp_path / where, [])
    assert "\n" not in str(caught.value)


def test_a_file_system_without_lists_is_named(root, monkeypatch):
    def unsupported(path, name):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(store_module.os, "getxattr", unsupported)
    with pytest.raises(InvalidRequestError, match="file system without POSIX access control"):
        Store(root, [])
    monkeypatch.undo()
    Store(root, []).close()  # the lock was let go


def test_groups_are_named_one_a_line(tmp_path):
    first, second = grp.getgrall()[:2]
    file = tmp_path / "groups"
    file.write_text(f"# who may read\n{first.gr_name}\n\n  {second.gr_name}  # and these\n")
    assert read_groups(file) == [first.gr_gid, second.gr_gid]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("root\nno-such-group\n", "line 2 of .*: there is no group 'no-such-group'"),
        ("a\udcffb\n", "line 1 of .*: there is no group"),
        (None, "the groups in .* cannot be read: No such file"),
    ],
)
def test_a_file_of_groups_that_cannot_be_used_is_refused(tmp_path, content, said):
    file = tmp_path / "groups"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InvalidRequestError, match=said):
        read_groups(file)


def test_an_account_has_a_directory_of_its_own_name_or_its_id():
    assert owner_of_name("root") == owner_of_id(0) == Owner("root", 0)
    assert owner_of_name("no-such-account") is None
    assert owner_of_name("a\udcff") is None
    assert owner_of_name("") is None
    assert owner_of_id(2**31 - 7) == Owner(f"@{2**31 - 7}", 2**31 - 7)
