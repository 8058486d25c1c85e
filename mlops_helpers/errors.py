"""Every error that this package raises on purpose, as one tree.

::

    OpsLabError
    ├── WorkspaceError      the one writable folder cannot be written
    ├── ParameterError      a notebook's or a command's parameter is unknown, wrongly typed or out of range
    ├── DataError           comments are missing, unreadable or break the schema
    │   └── DownloadError   a corpus could not be fetched, or its bytes are not the pinned ones
    ├── ArtifactError       an artifact is missing, incomplete or of an unknown format
    │   └── TamperedArtifactError   its bytes are not those that the manifest names
    ├── ServiceError        a service cannot start, does not answer, or answers with an error
    │   └── RuntimeUnavailable  what services are to run on is not here, or may not be used
    ├── ImageError          a container image cannot be built, or what it is made of is missing or not genuine
    ├── EventLogError       an event log cannot be opened, is damaged, or did not take a record
    │   ├── LogFull         too many records wait for the disk
    │   └── LogFailed       the disk refused a write: nothing is recorded any more
    ├── MetricsError        metrics cannot be scraped, understood or asked for, or there are none
    ├── ObjectiveError      a service level objective, an alert rule or a record of releases that cannot work
    ├── PipelineError       a pipeline or its record cannot work as it is written, or another run is under way
    │   └── GateRefused     a gate says no: the release does not go on
    ├── DrillError          a scenario, a fault or a drill's record that cannot be used as it is
    ├── RegistryError       a registered model, version or alias does not exist
    └── NotebookError       a notebook cannot be run or checked
        ├── CellError       a cell raised: carries cell, source and traceback
        └── StructureError  a notebook breaks the rules of the house

Each message says what was found, what is accepted and the next command. The command line prints the
message alone; anything outside this tree is a defect and keeps its traceback.
"""

__all__ = [
    "ArtifactError",
    "CellError",
    "DataError",
    "DownloadError",
    "DrillError",
    "EventLogError",
    "GateRefused",
    "ImageError",
    "LogFailed",
    "LogFull",
    "MetricsError",
    "NotebookError",
    "ObjectiveError",
    "OpsLabError",
    "ParameterError",
    "PipelineError",
    "RegistryError",
    "RuntimeUnavailable",
    "ServiceError",
    "StructureError",
    "TamperedArtifactError",
    "WorkspaceError",
]


class OpsLabError(Exception):
    """Base of all errors raised on purpose."""


class WorkspaceError(OpsLabError):
    """The workspace folder cannot be made or written."""


class ParameterError(OpsLabError):
    """A parameter is unknown, has the wrong type or lies outside its range."""


class DataError(OpsLabError):
    """Comments are missing, unreadable or break the schema."""


class DownloadError(DataError):
    """A corpus could not be fetched, or its bytes are not those that were pinned."""


class ArtifactError(OpsLabError):
    """A model artifact is missing, incomplete or of an unknown format."""


class TamperedArtifactError(ArtifactError):
    """A model artifact's bytes are not those that its manifest, or the caller, names."""


class RegistryError(OpsLabError):
    """A registered model, version or alias does not exist."""


class ServiceError(OpsLabError):
    """A service cannot start, does not answer, or answers with an error."""


class RuntimeUnavailable(ServiceError):
    """What services are to run on (Docker, a swarm) is not on this machine, or this user may not use it."""


class ImageError(OpsLabError):
    """A container image cannot be built, or what it is made of is missing or is not what it should be."""


class EventLogError(OpsLabError):
    """An event log cannot be opened, is damaged, or did not take a record."""


class LogFull(EventLogError):
    """Too many records wait for the disk; the record was not taken."""


class LogFailed(EventLogError):
    """The disk refused a write: the log takes no records until it is opened again."""


class MetricsError(OpsLabError):
    """Metrics cannot be scraped, understood or asked for, or there are none to answer from."""


class ObjectiveError(OpsLabError):
    """A service level objective, an alert rule or a record of releases that cannot work as it is written."""


class PipelineError(OpsLabError):
    """A pipeline or the record of its releases cannot work as it is, or another run is under way."""


class GateRefused(PipelineError):
    """A gate says no: what it judged is not released."""


class DrillError(OpsLabError):
    """A scenario, a fault or the record of a drill cannot be used as it is written."""


class NotebookError(OpsLabError):
    """A notebook cannot be read, run or checked."""


class CellError(NotebookError):
    """A cell of a notebook raised.

    ``cell`` is the index in the notebook (0-based), ``source`` the cell's code, ``traceback`` the kernel's
    traceback without terminal colours.
    """

    def __init__(self, message: str, *, cell: int, source: str, traceback: str) -> None:
        super().__init__(message)
        self.cell = cell
        self.source = source
        self.traceback = traceback


class StructureError(NotebookError):
    """A notebook breaks a rule of its anatomy."""
