"""The branch on which git-annex keeps what it knows, shared with git-annex itself."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from datalad_slurm.dataset.commit_objects import Roots, author_lines, write_commit
from datalad_slurm.dataset.diff import differences
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.packfile import Packfile
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["BRANCH", "AnnexBranch", "bring_up_to_date"]

BRANCH = "refs/heads/git-annex"
_MODE = "100644"


def bring_up_to_date(repo: Repo) -> None:
    """Have git-annex merge into its branch what it has, and commit its journal, if there is any.

    It does so when it reads the branch: all refs whose name ends in ``git-annex`` are
    merged, line by line (git-annex, "internals", and Annex.Branch, updateTo).
    """
    if not _is_whole(repo):
        repo.run("annex", "config", "--get", "annex.addunlocked", ok_codes=(0, 1))


def _is_whole(repo: Repo) -> bool:
    """Return whether git-annex's branch holds all that git-annex knows."""
    try:
        others = repo.run(
            "for-each-ref", "--format=%(refname)", f"--no-merged={BRANCH}", "refs/**/git-annex"
        )
    except DatasetError:  # there is no such branch yet
        return False
    return not others.strip() and not _is_journal_dirty(repo)


def _is_journal_dirty(repo: Repo) -> bool:
    """Return whether git-annex has logs that are not committed (gitAnnexJournalDir)."""
    return any((repo.common_dir / "annex" / "journal").glob("*"))


class AnnexBranch:
    """git-annex's branch as it is now, to grow by one commit.

    Its journal is committed before that: what is in there would displace new logs.

    Parameters
    ----------
    repo : Repo
        The repository.
    reader : ObjectReader
        Reads what it has.
    """

    def __init__(self, repo: Repo, reader: ObjectReader) -> None:
        bring_up_to_date(repo)
        self.repo = repo
        self.tip = os.fsdecode(repo.run("rev-parse", "--verify", f"{BRANCH}^0")).strip()
        self._pack = Packfile(repo)
        roots = Roots(reader, self._pack.id_size, [(self.tip,)])
        self._root = roots.grown_from((self.tip,), ())

    def held(self, paths: Iterable[str]) -> set[str]:
        """Return those of some paths at which there is a log."""
        names = {path: os.fsencode(path).split(b"/") for path in paths}
        self._root.look_into(first for first, *_ in names.values())
        return {path for path, split in names.items() if self._root.holds(split)}

    def grow(self, logs: Mapping[str, bytes]) -> None:
        """Make a commit that holds logs, too, and have the branch lead to it.

        Raises
        ------
        DatasetError
            When git or git-annex fails.
        """
        if not logs:
            return
        planned: dict[str, tuple[str, str]] = {}
        for path, content in logs.items():
            blob = self._pack.identify("blob", [content])
            self._pack.write("blob", blob, content)
            self._root.put(os.fsencode(path).split(b"/"), _MODE.encode(), blob)
            planned[path] = (_MODE, blob.hex())
        who = author_lines(self.repo)
        message = self.repo.ask("config", "annex.commitmessage") or "update"
        commit = write_commit(self._pack, self._root, [self.tip], who, message)
        ref = f"{self.repo.private_refs}{uuid.uuid4().hex}/git-annex"
        with self._pack.handed_over():
            self.repo.run("update-ref", ref, commit)
        changed = differences(self.repo, self.tip, commit)
        if {each.path: each.new for each in changed} != planned:
            raise DatasetError("the commit built for git-annex's branch does not hold the new logs")
        # where locks do not reach other nodes, git-annex may have put the branch back there
        if not (self._move(commit) and self._holds(commit)):
            bring_up_to_date(self.repo)  # merges it, as if it had been fetched
            if not self._holds(commit):
                raise DatasetError(
                    f"git-annex has not merged {ref} into its branch, so that does not know where "
                    "the content of new files is; `git annex merge` says why"
                )
        self.repo.run("update-ref", "-d", ref)

    def _holds(self, commit: str) -> bool:
        """Return whether a commit is in the history of the branch."""
        return not self.repo.run("rev-list", "--max-count=1", commit, f"^{BRANCH}").strip()

    def _move(self, commit: str) -> bool:
        """Move the branch to a commit, unless somebody else is at it.

        git-annex brings its index of the branch up to date when it next looks at it, as after
        a push to the branch (its Annex.Branch, updateTo).
        """
        with _locked_journal(self.repo) as is_locked:
            if not is_locked or _is_journal_dirty(self.repo):
                return False
            try:
                self.repo.run("update-ref", "-m", "update", BRANCH, commit, self.tip)
            except DatasetError:
                return False  # it has moved since, or git-annex is going to say why it cannot
        return True


@contextmanager
def _locked_journal(repo: Repo) -> Iterator[bool]:
    """Hold the lock under which git-annex changes its branch; tell whether it could be had.

    It is a POSIX lock of a file (Annex.Locations, gitAnnexJournalLock), but where annex.pidlock
    is set.
    """
    if repo.ask("config", "--type=bool", "annex.pidlock") == "true":
        yield False
        return
    try:
        lock = (repo.common_dir / "annex" / "journal.lck").open("ab")
    except OSError:
        yield False
        return
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is taken, or the file system has no locks
            yield False
            return
        yield True
