"""Fill a dataset with many files, quicker than git-annex would add them."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.world import World

_FILES_PER_DIRECTORY = 1000
#: as in a dataset of 250,000 files that people have, where it is 142,000
_ANNEXED_PER_MILLE = 568
#: git's filters are not needed: what goes into git is as it is in the working tree
PLAIN = tuple(
    word for part in ("process", "clean", "smudge") for word in ("-c", f"filter.annex.{part}=")
)


def annexed_of(files: int) -> int:
    """Return how many of the files are annexed."""
    return files * _ANNEXED_PER_MILLE // 1000


def add_files(world: World, root: Path, count: int) -> None:
    """Write and commit files of which some are annexed, with their content here."""
    in_annex = annexed_of(count)
    annexed: dict[str, bytes] = {}
    stream = [
        b"commit refs/heads/bench-files\n",
        b"committer Benchmark <benchmark@example.com> 1700000000 +0000\n",
        b"data 14\nAdd the files\n",
        f"from {_ask(world, root, 'rev-parse', 'HEAD')}\n".encode(),
    ]
    for number in range(count):
        content = b"%060d\n" % number
        path = f"data/{number // _FILES_PER_DIRECTORY:04d}/{number:07d}"
        if (number + 1) * in_annex // count == number * in_annex // count:
            path += ".txt"
            _write(root / path, content)
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), 61, content))
        else:
            annexed[f"{path}.dat"] = content
    keys = {path: _key(content) for path, content in annexed.items()}
    logs: list[str] = []
    for path, (place, log) in _places(world, root, keys).items():
        logs.append(log)
        _write(root / place, annexed[path])
        (root / place).chmod(0o444)
        (root / place).parent.chmod(0o555)
        link = f"../../{place}"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(link)
        stream.append(
            b"M 120000 inline %s\ndata %d\n%s\n" % (path.encode(), len(link), os.fsencode(link))
        )
    stream += _location_logs(logs, _ask(world, root, "config", "annex.uuid"))
    world.run(["git", "fast-import", "--quiet"], root, stdin=b"".join(stream))
    branch = _ask(world, root, "symbolic-ref", "HEAD")
    world.run(["git", "update-ref", branch, "refs/heads/bench-files"], root)
    world.run(["git", "branch", "-D", "bench-files"], root)
    world.run(["git", *PLAIN, "read-tree", "HEAD"], root)
    world.run(["git", *PLAIN, "update-index", "-q", "--refresh"], root)
    world.run(["git", "pack-refs", "--all"], root)
    # not left to the first command that is measured
    world.run(["git", "annex", "merge", "--quiet"], root)


def _places(world: World, root: Path, keys: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return where git-annex keeps the content of each path, and its log in its branch."""
    form = "--format=${hashdirmixed}${key}/${key} ${hashdirlower}${key}.log\\n"
    argv = ["git", "annex", "examinekey", "--batch", form]
    answer = world.run(argv, root, stdin="".join(f"{key}\n" for key in keys.values()))
    lines = (line.split() for line in answer.output.splitlines())
    return {
        path: (f".git/annex/objects/{place}", log)
        for path, (place, log) in zip(keys, lines, strict=True)
    }


def _location_logs(logs: list[str], here: str) -> list[bytes]:
    """Return a commit of git-annex's branch by which contents are here.

    git-annex brings its own index up to date when it sees that the branch has
    moved, as after a push (git-annex internals: location tracking logs).
    """
    line = f"1700000000s 1 {here}\n".encode()
    head = [
        b"commit refs/heads/git-annex\n",
        b"committer Benchmark <benchmark@example.com> 1700000000 +0000\n",
        b"data 6\nupdate\nfrom refs/heads/git-annex^0\n",
    ]
    return head + [
        b"M 100644 inline %s\ndata %d\n%s\n" % (log.encode(), len(line), line) for log in logs
    ]


def _key(content: bytes) -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return f"MD5E-s{len(content)}--{md5}.dat"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _ask(world: World, root: Path, *arguments: str) -> str:
    return world.run(["git", *arguments], root).output.strip()
