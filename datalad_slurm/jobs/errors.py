"""The exceptions of this package, all of one base."""

from __future__ import annotations

__all__ = [
    "AccountingDisabledError",
    "AlreadyTrackedError",
    "DatabaseError",
    "DataladSlurmError",
    "DatasetError",
    "InvalidRequestError",
    "JobNotTrackedError",
    "OutputConflictError",
    "PublicationError",
    "QueryFailedError",
    "RecordError",
    "SubmissionError",
    "TransferError",
]


class DataladSlurmError(Exception):
    """Base of everything this package raises on purpose.

    The message is one clear sentence for the person at the terminal: what
    happened, to which job or path, and what to do next.
    """


class InvalidRequestError(DataladSlurmError):
    """What was asked for cannot be done; nothing was submitted or changed."""


class JobNotTrackedError(InvalidRequestError):
    """A job that this dataset does not track was named."""


class AlreadyTrackedError(InvalidRequestError):
    """A job that is to be tracked is tracked already."""


class OutputConflictError(InvalidRequestError):
    """An output is claimed by a job that is still open."""


class SubmissionError(DataladSlurmError):
    """The command did not submit any job."""


class QueryFailedError(DataladSlurmError):
    """A program of Slurm gave no answer; this never means that a job has ended."""


class AccountingDisabledError(QueryFailedError):
    """The Slurm at hand has no accounting, and never will have an answer."""


class RecordError(DataladSlurmError):
    """A commit holds no usable record of a job."""


class DatabaseError(DataladSlurmError):
    """The tracking database cannot be used."""


class DatasetError(DataladSlurmError):
    """git or git-annex could not do what was asked of it."""


class PublicationError(DatasetError):
    """Commits were built, but the branch could not be moved onto them."""


class TransferError(DataladSlurmError):
    """A file could not be copied whole between the dataset and an alternative directory."""
