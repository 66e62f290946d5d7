"""Change the user's index, in git's own way of taking turns."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from datalad_slurm.dataset.diff import Difference, differences
from datalad_slurm.dataset.files import LINK_MODE, lstat_of, plain_stat
from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.identity import blob_of, object_format
from datalad_slurm.dataset.index_times import note_times
from datalad_slurm.dataset.indexed import parse_staged
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.errors import DatasetError, PublicationError

__all__ = ["IndexUpdate", "catch_up_index", "drop_own_lock", "not_checked_out"]

_NO_FILTER = (
    "-c", "filter.annex.clean=", "-c", "filter.annex.smudge=", "-c", "filter.annex.process=",
)  # fmt: skip
#: Seconds to wait for another git process to let go of the index.
_LOCK_PATIENCE = 10.0


class IndexUpdate:
    """The lock of a repository's index, and the index that is to take its place.

    As long as ``index.lock`` is there, no git process commits, stages or
    switches branches. The new index is written beside the old one, and put in
    its place when the branch has been moved: as ``git commit`` does it, so
    that nobody sees the one without the other.

    To be used as a context manager; what is not installed is dropped.

    Raises
    ------
    PublicationError
        When another git process holds the index for too long.
    DatasetError
        When the lock cannot be written.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._index = repo.git_dir / "index"
        self._lock = repo.git_dir / "index.lock"
        self._next = repo.state_file("next.index")
        self._mark = _mark(repo)
        self._is_held = False

    def __enter__(self) -> IndexUpdate:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                handle = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                break
            except FileExistsError:
                if time.monotonic() > deadline:
                    raise PublicationError(
                        f"{self._lock} is there, so another git process is at work; run `datalad "
                        "slurm-finish` again when it has ended, or remove the file if no git "
                        "runs; all jobs are still open"
                    ) from None
            except OSError as exc:
                raise DatasetError(f"{self._lock} cannot be made: {exc.strerror}") from exc
            time.sleep(0.2)
        self._is_held = True
        try:
            with os.fdopen(handle, "wb") as lock:
                lock.write(self._mark)
        except OSError as exc:
            self._release()
            raise DatasetError(f"{self._lock} cannot be written: {exc.strerror}") from exc
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def prepare(self, changes: Iterable[Change]) -> None:
        """Write an index that holds these changes beside what the user's holds."""
        changes = list(changes)
        try:
            self._next.unlink(missing_ok=True)
            if self._index.exists():
                shutil.copyfile(self._index, self._next)
                # what was edited in the second in which git last looked, git finds by this time
                # (git, Documentation/technical/racy-git.txt)
                times = self._index.stat()
                os.utime(self._next, ns=(times.st_atime_ns, times.st_mtime_ns))
            self._next.with_name("next.index.lock").unlink(missing_ok=True)  # of a killed git
        except OSError as exc:
            raise DatasetError(f"{self._next} cannot be written: {exc.strerror}") from exc
        env = {"GIT_INDEX_FILE": str(self._next)}
        self._repo.run(
            "update-index", "--add", "--replace", "-z", "--index-info",
            input=_index_info(self._repo, changes), env=env,
        )  # fmt: skip
        try:
            _note_file_times(self._repo, changes, self._next, env)
        except OSError as exc:
            raise DatasetError(f"{self._next} cannot be written: {exc.strerror}") from exc

    def install(self) -> None:
        """Put the prepared index in the place of the user's, and let go of the lock."""
        self._next.replace(self._index)
        self._release()

    def _release(self) -> None:
        if self._is_held:  # else it may be somebody else's by now
            self._next.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
            self._is_held = False


def _index_info(repo: Repo, changes: Iterable[Change]) -> bytes:
    changes = sorted(changes, key=lambda change: not change.is_deletion)
    known = next((change.blob for change in changes if change.blob), "")
    null = "0" * len(known or repo.run("hash-object", "--stdin", input=b"").strip())
    return b"".join(
        f"{change.mode or 0} {change.blob or null}\t".encode() + os.fsencode(change.path) + b"\0"
        for change in changes
    )


def _note_file_times(
    repo: Repo, changes: Iterable[Change], index: Path, env: dict[str, str]
) -> None:
    """Let the index know the times of files in git and of links.

    Without them `git status` filters the files again, and `git merge`, which looks at nothing,
    ends with "stash failed". Only of what is as it was when it was staged.
    """
    certain: dict[bytes, tuple[bytes, os.stat_result]] = {}
    settled: list[bytes] = []
    for change in changes:
        found = _found_in_place(repo, change)
        if found is not None and _is_certain(change, found):
            certain[os.fsencode(change.path)] = (bytes.fromhex(change.blob), found)
        elif found is not None:
            settled.append(os.fsencode(change.path))
    if certain and not note_times(index, object_format(repo), certain):
        settled += certain
    if not settled:
        return
    # it reads the files again; that it fails does no harm otherwise, so it may
    paths = b"".join(path + b"\0" for path in settled)
    repo.run(
        *_NO_FILTER, "update-index", "-z", "--stdin", input=paths, env=env, ok_codes=(0, 1, 128)
    )


def _found_in_place(repo: Repo, change: Change) -> os.stat_result | None:
    """Return the stat of a file if the working tree has what is committed, as it is."""
    found = lstat_of(repo.root / change.path)
    if found is None:
        return None
    if change.mode != LINK_MODE:
        is_plain = not change.key and change.file_stat is not None
        return found if is_plain and change.file_stat == plain_stat(found) else None
    try:
        text = os.readlink(repo.root / change.path)  # noqa: PTH115 - a path would change it
    except OSError:
        return None
    return found if blob_of(repo, os.fsencode(text)) == change.blob else None


def _is_certain(change: Change, found: os.stat_result) -> bool:
    """Return whether what was found in place cannot have been written to since it was staged.

    A program can put a file's time back, but not that of its inode. Where times are those of
    whole seconds, all that is written in one second has the same.
    """
    if change.mode == LINK_MODE:
        return True
    if change.stat is None:
        return False
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return found.st_ctime_ns == change.stat.st_ctime_ns and all(t % 10**9 for t in times)


def _mark(repo: Repo) -> bytes:
    """Return what our lock holds; git's own is empty or an index ("DIRC")."""
    text = "datalad slurm-finish is at work; if it was killed, run it again"
    return f"{text} {repo.guest}\n".encode()


def drop_own_lock(repo: Repo) -> None:
    """Remove the lock that a finisher left behind when it died, but nobody else's."""
    lock = repo.git_dir / "index.lock"
    try:
        with lock.open("rb") as file:
            is_own = file.read(1000) == _mark(repo)
    except OSError:
        return
    if is_own:
        lock.unlink(missing_ok=True)


def catch_up_index(repo: Repo, old: str, new: str) -> None:
    """Bring those entries of the index to commit `new` that are still as `old` has them.

    For a finisher that died after it moved the branch. What the user has
    staged since stays. That scheduling has unlocked a file is no change.
    """
    changed = differences(repo, old, new)
    present: dict[str, tuple[str, str]] = {}
    for chunk in in_argument_chunks(difference.path for difference in changed):
        for path, mode, blob in parse_staged(repo.run("ls-files", "-s", "-z", "--", *chunk)):
            present[path] = (mode, blob)
    unlocked = _unlocked(repo, old, changed, present)
    lagging = [
        Change(difference.path, *difference.new)
        for difference in changed
        if difference.path in unlocked or present.get(difference.path, ("", "")) == difference.old
    ]
    if lagging:
        with IndexUpdate(repo) as update:
            update.prepare(lagging)
            update.install()


def _unlocked(
    repo: Repo,
    old: str,
    changed: Iterable[Difference],
    present: Mapping[str, tuple[str, str]],
) -> set[str]:
    """Return the paths at which the index holds unlocked what commit `old` holds locked."""
    pairs = {
        difference.path: (difference.old, held)
        for difference in changed
        if difference.old[0] == LINK_MODE
        and (held := present.get(difference.path)) is not None
        and held[0] in ("100644", "100755")
    }
    if not pairs:
        return set()
    with TreeReader(repo, old) as tree:
        return {
            path
            for path, (before, held) in pairs.items()
            if tree.identity(*before) == tree.identity(*held)
        }


def not_checked_out(repo: Repo, paths: Iterable[str]) -> set[str]:
    """Return those of some paths that a sparse checkout leaves out of the working tree."""
    if repo.ask("config", "--type=bool", "core.sparseCheckout") != "true":
        return set()
    left_out: set[str] = set()
    for chunk in in_argument_chunks(paths):
        for entry in repo.run("ls-files", "-t", "-z", "--", *chunk).split(b"\0"):
            if entry.startswith(b"S "):
                left_out.add(os.fsdecode(entry[2:]))
    return left_out
