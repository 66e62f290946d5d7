"""Where a testbed keeps its state, who may use it, and what it needs from the machine."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import random
import shutil
import socket
import stat
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# The longest unix socket below the state directory is that of a job step, and
# the kernel takes 107 characters.
_LONGEST_SOCKET = "/spool/n99/n99_67043328.4294967291"
MAX_DIR_LENGTH = 107 - len(_LONGEST_SOCKET)

# Below the range from which Linux takes ports for outgoing connections.
_PORTS = range(20000, 32000)

# Daemons live where an ordinary user's PATH does not lead.
_MORE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The Debian package of each program.
_PACKAGES = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sacct": "slurm-wlm",
    "sacctmgr": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "scancel": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "squeue": "slurm-wlm",
}

# Variables that bend what Slurm's commands do, or which cluster they talk to.
SLURM_PREFIXES = (
    "SLURM_",
    "SLURMD_",
    "SBATCH_",
    "SRUN_",
    "SALLOC_",
    "SACCT_",
    "SQUEUE_",
    "SINFO_",
    "SCANCEL_",
    "SCONTROL_",
    "SPRIO_",
    "SSHARE_",
    "SSTAT_",
)


class TestbedError(Exception):
    """Something the user is told in one message, without a traceback."""


@dataclass
class Settings:
    """What can be chosen at `up`, and the ports found for it."""

    nodes: int = 4
    cpus: int = 8
    memory: int = 2000
    min_job_age: int = 300
    requeue_delay: int = 10
    no_accounting: bool = False
    conf: dict[str, str] = field(default_factory=dict)
    first_port: int = 0

    @property
    def node_names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    @property
    def database_port(self) -> int:
        return self.first_port

    @property
    def slurmdbd_port(self) -> int:
        return self.first_port + 1

    @property
    def slurmctld_port(self) -> int:
        return self.first_port + 2

    def slurmd_port(self, node: str) -> int:
        return self.first_port + 3 + self.node_names.index(node)

    def choose_ports(self) -> None:
        """Keep the block of ports if it is free, else look for one that is."""
        count = 3 + self.nodes
        if self.first_port and _all_free(self.first_port, count):
            return
        for _ in range(1000):
            first = random.randrange(_PORTS.start, _PORTS.stop - count)
            if _all_free(first, count):
                self.first_port = first
                return
        msg = f"no {count} free ports in a row between {_PORTS.start} and {_PORTS.stop}"
        raise TestbedError(msg)


def _all_free(first: int, count: int) -> bool:
    for port in range(first, first + count):
        with socket.socket() as probe:
            # As the daemons do: connections that are only winding down
            # (TIME_WAIT) do not make a port taken, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


class Layout:
    """The state directory.

    Parameters
    ----------
    directory
        Given by the user; None for $DATALAD_SLURM_TESTBED, or else one per
        user below /tmp.
    """

    def __init__(self, directory: str | None) -> None:
        directory = (
            directory
            or os.environ.get("DATALAD_SLURM_TESTBED")
            or f"/tmp/datalad-slurm-testbed-{os.getuid()}"
        )
        path = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() follows symlinks
        # The last part itself may not be a symlink (see check()), so only what
        # is above it is resolved.
        self.dir = path.parent.resolve() / path.name
        self.etc = self.dir / "etc"
        self.log = self.dir / "log"
        self.run = self.dir / "run"
        self.sbin = self.dir / "sbin"
        self.spool = self.dir / "spool"
        self.state = self.dir / "state"
        self.database = self.dir / "db"
        self.tmp = self.dir / "tmp"
        self.settings_file = self.dir / "testbed.json"
        self.lock_file = self.dir / "lock"
        self.slurm_conf = self.etc / "slurm.conf"
        self.munge_socket = self.run / "munge.socket"
        self.database_socket = self.run / "mariadb.socket"

    @property
    def parts(self) -> list[Path]:
        return [
            self.etc,
            self.log,
            self.run,
            self.sbin,
            self.spool,
            self.state,
            self.database,
            self.tmp,
        ]

    def exists(self) -> bool:
        return os.path.lexists(self.dir)

    def check(self) -> None:
        """Refuse a directory that is not (or cannot become) ours alone to use."""
        if len(str(self.dir)) > MAX_DIR_LENGTH:
            msg = (
                f"{self.dir}: too long ({len(str(self.dir))} characters, at most "
                f"{MAX_DIR_LENGTH}): paths of unix sockets are limited"
            )
            raise TestbedError(msg)
        if any(char in str(self.dir) for char in " \t\n\"'\\#,;:%="):
            msg = f"{self.dir}: these characters cannot be written in Slurm's configuration"
            raise TestbedError(msg)
        try:
            info = self.dir.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(info.st_mode):
            msg = f"{self.dir}: is a symbolic link, which is not trusted"
            raise TestbedError(msg)
        if not stat.S_ISDIR(info.st_mode):
            msg = f"{self.dir}: is not a directory"
            raise TestbedError(msg)
        if info.st_uid != os.getuid():
            owner = user_name(info.st_uid)
            msg = f"{self.dir}: belongs to {owner}, not to {user_name(os.getuid())}"
            raise TestbedError(msg)
        if info.st_mode & 0o022:
            msg = f"{self.dir}: others may write to it: chmod go-w, or take another directory"
            raise TestbedError(msg)
        known = {"lock", self.settings_file.name, *(part.name for part in self.parts)}
        strange = sorted({entry.name for entry in self.dir.iterdir()} - known)
        if strange and not self.settings_file.exists():
            msg = f"{self.dir}: is no testbed, and not empty: it holds {strange[0]}"
            raise TestbedError(msg)

    def create(self) -> None:
        self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check()

    def create_parts(self) -> None:
        for part in self.parts:
            # The database directory appears by a rename when it is complete.
            if part != self.database:
                part.mkdir(exist_ok=True)

    def wipe(self) -> None:
        """Remove what the testbed made, and nothing else."""
        for part in self.parts:
            if part.exists():
                shutil.rmtree(part)
        self.settings_file.unlink(missing_ok=True)

    def remove_directory(self) -> None:
        """Remove the (wiped) directory itself, unless something else is in it."""
        self.lock_file.unlink(missing_ok=True)
        # Somebody waiting for the lock may have made a new one meanwhile.
        if not any(self.dir.iterdir()):
            self.dir.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the only right to change this testbed; waits for whoever has it."""
        while True:
            self.create()
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                try:
                    current = self.lock_file.stat()
                except FileNotFoundError:
                    continue
                # While we waited, `down --wipe` may have removed the file that
                # we now hold: a lock nobody else would ever see.
                if current.st_ino != os.fstat(descriptor).st_ino:
                    continue
                yield
                return
            finally:
                os.close(descriptor)

    def load_settings(self) -> Settings | None:
        try:
            stored: dict[str, Any] = json.loads(self.settings_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        names = {item.name for item in fields(Settings)}
        return Settings(**{key: value for key, value in stored.items() if key in names})

    def save_settings(self, settings: Settings) -> None:
        write_private(self.settings_file, json.dumps(asdict(settings), indent=1) + "\n")


def write_private(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write a file that is complete, and has its mode, from the first moment on."""
    data = content.encode() if isinstance(content, str) else content
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    new.replace(path)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def search_path() -> str:
    return os.environ.get("PATH", "") + ":" + _MORE_PATH


def find_programs() -> dict[str, str]:
    """Find every program that is needed, or say which packages have them."""
    found = {name: shutil.which(name, path=search_path()) for name in _PACKAGES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        packages = dict.fromkeys(_PACKAGES[name] for name in missing)
        msg = (
            f"not installed: {', '.join(missing)}. On Debian, as root (or see "
            f"tools/install-packages):\n"
            f"    apt-get install --no-install-recommends {' '.join(packages)}"
        )
        raise TestbedError(msg)
    return {name: path for name, path in found.items() if path is not None}


def clean_environment(layout: Layout) -> dict[str, str]:
    """Build the environment for daemons and commands: nothing of another Slurm."""
    kept = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PATH"] = search_path()
    environment["SLURM_CONF"] = str(layout.slurm_conf)
    return environment


def deadline_passed(deadline: float) -> bool:
    return time.monotonic() > deadline
