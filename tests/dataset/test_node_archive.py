"""Archives in which a job's files come back from its node."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from datalad_slurm.dataset import zstd
from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.node_archive import checked_members, extracted, pack
from datalad_slurm.jobs.errors import TransferError

CONTENTS = {"a": b"", "b": os.urandom(300_000), "c": b"x" * 3_000_000}


@pytest.fixture
def archive(tmp_path):
    """Return an archive with some files, not compressed."""
    root = tmp_path / "root"
    root.mkdir()
    mirror = Mirror(root)
    for name, content in CONTENTS.items():
        (root / name).write_bytes(content)
        mirror.add(name)
    pack(mirror, tmp_path / "x.tar")
    return tmp_path / "x.tar"


def compressed(content):
    if not zstd.is_here():
        pytest.skip("zstd is not installed")
    return subprocess.run(["zstd", "-qc"], input=content, check=True, capture_output=True).stdout


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("is_compressed", [False, True])
def test_files_come_out_of_an_archive_as_they_were(archive, tmp_path, is_compressed):
    if is_compressed:
        archive.write_bytes(compressed(archive.read_bytes()))
    names, removed = checked_members(archive, sha256_of(archive), is_compressed=is_compressed)
    assert ({*names} - {""}, removed) == ({*CONTENTS}, ())
    for directory in ("parts", "target"):
        (tmp_path / directory).mkdir()

    def target(name):
        return tmp_path / "target" / name if name in ("a", "c") else None

    taken = extracted(
        archive, tmp_path / "parts", target, lambda _, text: text, is_compressed=is_compressed
    )
    assert list(taken) == ["a", "c"]
    found = {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()}
    assert found == {name: CONTENTS[name] for name in ("a", "c")}


@pytest.mark.parametrize(
    "damaged",
    [
        lambda plain: compressed(plain)[:-5],
        lambda plain: compressed(plain)[:1000] + b"x" + compressed(plain)[1001:],
        lambda plain: plain,
        # what comes before the damage is an archive in itself
        lambda plain: compressed(plain) + b"damage",
    ],
    ids=["cut short", "changed", "not compressed", "more behind it"],
)
def test_what_zstd_cannot_read_to_its_end_is_refused_in_one_sentence(archive, damaged):
    archive.write_bytes(damaged(archive.read_bytes()))
    with pytest.raises(TransferError) as refused:
        checked_members(archive, sha256_of(archive), is_compressed=True)
    assert str(archive) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_damage_is_known_by_the_digest_of_the_file_as_it_lies_there(archive):
    known = sha256_of(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(TransferError, match="it is damaged"):
        checked_members(archive, known, is_compressed=False)
