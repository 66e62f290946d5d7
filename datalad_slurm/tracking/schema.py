"""Tables of the tracking database."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, MetaData, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

__all__ = [
    "SCHEMA_VERSION",
    "Base",
    "ClaimRow",
    "FinisherRow",
    "JobRow",
    "PublicationRow",
    "SlurmJobRow",
]

#: Stored in the database as ``PRAGMA user_version``; `migrations` leads here from earlier ones.
SCHEMA_VERSION = 3


class PathBytes(TypeDecorator[str]):
    """A path as the bytes the file system knows; not every name is UTF-8."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Encode a path on its way into the database."""
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Decode a path on its way out of the database."""
        return None if value is None else os.fsdecode(value)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData()
    type_annotation_map = {list[str]: JSON, dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy's


class JobRow(Base):
    """One scheduled command: a claim first, a job once Slurm has taken it."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(unique=True)
    cmd: Mapped[str] = mapped_column(JSON)  # JSON escapes what is no UTF-8
    pwd: Mapped[str] = mapped_column(PathBytes)
    dsid: Mapped[str]
    message: Mapped[str] = mapped_column(JSON)
    declared_outputs: Mapped[list[str]]
    inputs: Mapped[list[str]]
    extra_inputs: Mapped[list[str]]
    chain: Mapped[list[str]]
    commit_at_submission: Mapped[str]
    claimed_at: Mapped[int]
    claimed_by: Mapped[dict[str, Any]]
    extra: Mapped[dict[str, Any]]
    #: what inputs and script were at submission; since version 2
    identities: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))
    #: what claims are made of where outputs have patterns; since version 3
    templates: Mapped[list[str]] = mapped_column(JSON, server_default=text("'[]'"))

    claims: Mapped[list[ClaimRow]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, order_by="ClaimRow.id"
    )
    slurm_jobs: Mapped[list[SlurmJobRow]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, order_by="SlurmJobRow.id"
    )


class ClaimRow(Base):
    """A path or glob, relative to the dataset's root, that no other open job may claim."""

    __tablename__ = "claims"
    __table_args__ = (Index("claims_by_start", "start"), Index("claims_by_job", "job"))

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(PathBytes)
    #: what all that is claimed begins with, see `datalad_slurm.jobs.claims.beginning`
    start: Mapped[str] = mapped_column(PathBytes, server_default=text("x''"))


class SlurmJobRow(Base):
    """One job that Slurm took from a scheduled command."""

    __tablename__ = "slurm_jobs"
    __table_args__ = (Index("slurm_jobs_by_id", "job_id"), Index("slurm_jobs_by_job", "job"))

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    job_id: Mapped[int]
    cluster: Mapped[str]
    attempt: Mapped[int]
    submitted: Mapped[int | None]
    name: Mapped[str] = mapped_column(JSON)
    work_dir: Mapped[str] = mapped_column(PathBytes)
    #: pairs of name and array index, see `LogName`
    logs: Mapped[list[Any]] = mapped_column(JSON)
    #: array indices as ``["1-10"]``, het components as ``["+0", "+1"]``, a plain job ``[]``;
    #: ``["none"]`` when none is left
    tasks: Mapped[list[str] | None] = mapped_column(JSON)
    facts: Mapped[dict[str, Any]]


class FinisherRow(Base):
    """The one process that may commit in this dataset; at most one row."""

    __tablename__ = "finisher"

    id: Mapped[int] = mapped_column(primary_key=True)
    process: Mapped[dict[str, Any]]
    since: Mapped[int]


class PublicationRow(Base):
    """Commits that are built and about to become, or have become, the branch's."""

    __tablename__ = "publications"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: full name of the branch, or ``HEAD`` when it is detached
    branch: Mapped[str]
    #: the commit the new ones grow on; empty in a new repository
    base: Mapped[str]
    tip: Mapped[str]
    #: ids of `JobRow` that are to be forgotten once `tip` is on `branch`
    jobs: Mapped[list[int]] = mapped_column(JSON)
    #: of jobs that stay, the tasks that were committed: `JobRow.id`, Slurm's id and the tasks as
    #: in `SlurmJobRow`; since version 3
    parts: Mapped[list[Any]] = mapped_column(JSON, server_default=text("'[]'"))
    #: path of the subdataset, relative to the root; empty for the dataset itself
    subdataset: Mapped[str] = mapped_column(PathBytes, server_default=text("x''"))
