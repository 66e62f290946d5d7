"""The two installations: this checkout, and the peer with the same libraries."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _bench.measure import HERE, PEER
from _bench.processes import BenchError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGE = "datalad-slurm"
_PEER = "datalad-slurm==0.2.8"
_PLOT = "matplotlib"
#: what the package is built from
_SOURCES = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "datalad_slurm")
_STAMP = "installed"


@dataclass(frozen=True)
class Tool:
    """An installation that is measured."""

    name: str
    root: Path
    #: of the distributions it consists of
    versions: Mapping[str, str]

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def datalad(self) -> Path:
        return self.root / "bin" / "datalad"

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment for its commands."""
        return {**base, "PATH": f"{self.root / 'bin'}:{base['PATH']}"}


def default_cache() -> Path:
    """Return where the installations are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "datalad-slurm-bench"


def prepare(cache: Path, names: list[str], say: Callable[[str], None]) -> list[Tool]:
    """Install what is not installed yet, and what has changed since.

    The peer gets every library in the very version that this checkout got.
    """
    own = _install_checkout(cache, say)
    tools = {HERE: own}
    if PEER in names:
        tools[PEER] = _install_peer(cache, own, say)
    return [tools[name] for name in names]


def prepare_plot(cache: Path, say: Callable[[str], None]) -> Path:
    """Install what draws pictures, and return its Python."""
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "plot"
    stamp = f"{sys.version}\n{_PLOT}\n"
    if not _is_current(root, stamp, "python"):
        say(f"installing {_PLOT} into {root}")
        _make(root)
        _pip(root, "install", _PLOT)
        (root / _STAMP).write_text(stamp)
    return root / "bin" / "python"


def _install_checkout(cache: Path, say: Callable[[str], None]) -> Tool:
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / HERE
    extra = "" if shutil.which("git-annex") else "[annex]"
    stamp = f"{sys.version}\n{extra}\n{_fingerprint()}\n"
    if not _is_current(root, stamp):
        say(f"installing this checkout into {root}")
        _make(root)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            # A build leaves files behind, and would take in those of an earlier one.
            source = Path(name) / "source"
            _copy_sources(source)
            _pip(root, "install", f"{source}{extra}")
        (root / _STAMP).write_text(stamp)
    return Tool(HERE, root, _versions(root))


def _install_peer(cache: Path, own: Tool, say: Callable[[str], None]) -> Tool:
    root = cache / PEER
    libraries = {name: version for name, version in own.versions.items() if name != _PACKAGE}
    constraints = "".join(f"{name}=={version}\n" for name, version in sorted(libraries.items()))
    stamp = f"{sys.version}\n{_PEER}\n{constraints}"
    if not _is_current(root, stamp):
        say(f"installing {_PEER} into {root}")
        _make(root)
        pins = root / "constraints.txt"
        pins.write_text(constraints)
        wanted = [_PEER, "datalad", "datalad-next"]
        wanted += ["git-annex"] if "git-annex" in libraries else []
        _pip(root, "install", "--constraint", str(pins), *wanted)
        (root / _STAMP).write_text(stamp)
    return Tool(PEER, root, _versions(root))


def _is_current(root: Path, stamp: str, program: str = "datalad") -> bool:
    try:
        return (root / _STAMP).read_text() == stamp and (root / "bin" / program).exists()
    except OSError:
        return False


def _make(root: Path) -> None:
    if root.exists():
        shutil.rmtree(root)
    python = Path(sys.executable).resolve()
    run([python, "-m", "venv", root], env=_environment(), cwd=root.parent)


def _pip(root: Path, *arguments: str) -> str:
    calm = ("--disable-pip-version-check", "--no-input")
    argv = [root / "bin" / "python", "-m", "pip", *arguments, *calm]
    return run(argv, env=_environment(), cwd=root).output


def _environment() -> dict[str, str]:
    # pip's own settings stay, Python's would change what is installed
    left_out = ("PYTHON", "VIRTUAL_ENV", "SETUPTOOLS_SCM")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def _versions(root: Path) -> dict[str, str]:
    lines = _pip(root, "list", "--format=freeze").splitlines()
    pairs = (line.split("==", 1) for line in lines if "==" in line)
    # pip and setuptools are there before anything is installed
    tools = ("pip", "setuptools", "wheel")
    found = {_normal(name): version for name, version in pairs if _normal(name) not in tools}
    if _PACKAGE not in found:
        raise BenchError(f"{_PACKAGE} is not installed in {root}")
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sources() -> list[Path]:
    found: list[Path] = []
    for name in _SOURCES:
        path = CHECKOUT / name
        if not path.exists():
            msg = f"{CHECKOUT} is no checkout of {_PACKAGE}: {name} is missing"
            raise BenchError(msg)
        found += [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        path
        for path in found
        if path.is_file() and "__pycache__" not in path.parts and path.name != "_version.py"
    ]


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(CHECKOUT)}\0{path.stat().st_mode:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _copy_sources(target: Path) -> None:
    for path in _sources():
        copy = target / path.relative_to(CHECKOUT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
