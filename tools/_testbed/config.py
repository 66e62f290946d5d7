"""The configuration files of a testbed."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
from typing import TYPE_CHECKING

from _testbed.layout import TestbedError, user_name, write_private

if TYPE_CHECKING:
    from _testbed.layout import Layout, Settings

CLUSTER = "testbed"
_DATABASE = "slurm_acct_db"


def slurm_version(slurmctld: str) -> tuple[int, int]:
    """Ask for the version, such as (22, 5) or (24, 11)."""
    answer = subprocess.run([slurmctld, "-V"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", answer)
    if match is None:
        msg = f"{slurmctld} -V does not tell its version: {answer!r}"
        raise TestbedError(msg)
    return int(match[1]), int(match[2])


def node_hostname() -> str:
    """Name this machine, by a name that resolves."""
    name = short_hostname()
    try:
        socket.getaddrinfo(name, None, family=socket.AF_INET)
    except OSError:
        return "localhost"
    return name


def is_loopback() -> bool:
    """Tell whether this machine's name leads to loopback.

    Slurm's daemons can be told to listen only at the address of the machine's
    name (NoInAddrAny), but at no other: where that is not loopback, or the
    name does not resolve, they listen at all addresses.
    """
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, family=socket.AF_INET)
    except OSError:
        return False
    return all(str(entry[4][0]).startswith("127.") for entry in found)


def short_hostname() -> str:
    return socket.gethostname().split(".")[0]


def write_config(layout: Layout, settings: Settings, programs: dict[str, str]) -> None:
    """Write all configuration files; only while no daemon of the testbed runs."""
    if len(user_name(os.getuid())) == 0 or user_name(os.getuid()).isdigit():
        msg = f"user {os.getuid()} has no name in the user database: Slurm cannot run as it"
        raise TestbedError(msg)
    password = secrets.token_hex(16)
    key = layout.etc / "munge.key"
    if not key.exists():
        write_private(key, secrets.token_bytes(1024))
    write_private(layout.etc / "mariadb.cnf", _mariadb_cnf(layout, settings))
    write_private(layout.etc / "init.sql", _init_sql(password))
    write_private(layout.etc / "slurmdbd.conf", _slurmdbd_conf(layout, settings, password))
    cgroup = "# Nothing here uses cgroups.\n"
    # Without it slurmd insists on a cgroup hierarchy that it may write to. Older
    # ones do not know the value, but leave v1 alone when nothing asks for it.
    version = slurm_version(programs["slurmctld"])
    cgroup += f"CgroupPlugin={'disabled' if version >= (23, 2) else 'cgroup/v1'}\n"
    write_private(layout.etc / "cgroup.conf", cgroup, mode=0o644)
    write_private(layout.slurm_conf, _slurm_conf(layout, settings), mode=0o644)


def _mariadb_cnf(layout: Layout, settings: Settings) -> str:
    user = "user = root\n" if os.getuid() == 0 else ""
    return f"""\
[mariadbd]
{user}\
datadir = {layout.database}
tmpdir = {layout.tmp}
socket = {layout.database_socket}
pid-file = {layout.run}/mariadbd.own.pid
bind-address = 127.0.0.1
port = {settings.database_port}
skip-name-resolve
init-file = {layout.etc}/init.sql
# slurmdbd asks for these.
innodb-lock-wait-timeout = 900
max-allowed-packet = 64M
# Small and fast; what a power failure would cost does not matter here.
innodb-buffer-pool-size = 128M
innodb-log-file-size = 32M
innodb-flush-log-at-trx-commit = 0
innodb-doublewrite = 0
innodb-fast-shutdown = 1
performance-schema = 0
skip-log-bin
"""


def _init_sql(password: str) -> str:
    # MariaDB runs this at each start, one statement a line: no client, and no
    # password of its own administrator, is needed.
    return f"""\
CREATE DATABASE IF NOT EXISTS {_DATABASE};
CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON {_DATABASE}.* TO 'slurm'@'127.0.0.1';
"""


def _slurmdbd_conf(layout: Layout, settings: Settings, password: str) -> str:
    listen = "CommunicationParameters=NoInAddrAny\n" if is_loopback() else ""
    return f"""\
{listen}\
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={settings.slurmdbd_port}
SlurmUser={user_name(os.getuid())}
DebugLevel=info
PidFile={layout.run}/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={settings.database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc={_DATABASE}
"""


def _slurm_conf(layout: Layout, settings: Settings) -> str:
    user = user_name(os.getuid())
    values: dict[str, str] = {
        "ClusterName": CLUSTER,
        "SlurmctldHost": f"{short_hostname()}(127.0.0.1)",
        "SlurmctldPort": str(settings.slurmctld_port),
        "SlurmUser": user,
        "SlurmdUser": user,
        # How long a requeued job waits before it may start again is the
        # lifetime of a credential: two minutes, unless told.
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket},cred_expire={settings.requeue_delay}",
        **({"CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny"} if is_loopback() else {}),
        "StateSaveLocation": f"{layout.state}/slurmctld",
        "SlurmdSpoolDir": f"{layout.spool}/%n",
        "SlurmctldPidFile": f"{layout.run}/slurmctld.own.pid",
        "SlurmdPidFile": f"{layout.run}/slurmd-%n.own.pid",
        # Steps log nowhere else; slurmd itself also to its standard error.
        "SlurmdLogFile": f"{layout.log}/slurmd-%n.own.log",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "SlurmdParameters": "config_overrides",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "ReturnToService": "2",
        "KillWait": "12",
        "MinJobAge": str(settings.min_job_age),
        "MaxArraySize": "20001",
        "MaxJobCount": "50000",
        "SchedulerType": "sched/backfill",
        # No max_rpc_cnt: it made every single job start later, and bursts no faster.
        "SchedulerParameters": (
            "sched_min_interval=0,sched_interval=1,bf_interval=1,batch_sched_delay=0,"
            "default_queue_depth=200,bf_max_job_test=500"
        ),
        "PriorityType": "priority/basic",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        # Otherwise a job that asks for no memory gets all of a node.
        "DefMemPerCPU": str(max(1, settings.memory // (settings.cpus + 2))),
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        **_accounting(layout, settings),
    }
    for name, value in settings.conf.items():
        same = next((known for known in values if known.lower() == name.lower()), name)
        values[same] = value
    lines = [f"{name}={value}" for name, value in values.items()]
    host = node_hostname()
    lines += [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1"
        f" Port={settings.slurmd_port(node)} CPUs={settings.cpus}"
        f" RealMemory={settings.memory} State=UNKNOWN"
        for node in settings.node_names
    ]
    lines += [
        "PartitionName=DEFAULT Nodes=ALL State=UP",
        "PartitionName=main Default=YES MaxTime=UNLIMITED PriorityTier=10 PreemptMode=OFF",
        "PartitionName=short MaxTime=30 DefaultTime=5 PriorityTier=10 PreemptMode=OFF",
        "PartitionName=preempt MaxTime=UNLIMITED PriorityTier=1 PreemptMode=REQUEUE",
    ]
    return "\n".join(lines) + "\n"


def _accounting(layout: Layout, settings: Settings) -> dict[str, str]:
    if settings.no_accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(settings.slurmdbd_port),
        # Connections to slurmdbd do not heed AuthInfo.
        "AccountingStoragePass": str(layout.munge_socket),
    }
