"""Comments from where they are to a validated frame: simulated, two real corpora, or a CSV file of your own.

The real corpora are downloaded once, by pinned SHA-256, or read from the folder in ``MLOPS_DATA_DIR``. Every
source ends in the same schema (:mod:`mlops_helpers.model.schema`) with a report of the traps that were met.
"""

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_helpers.errors import DataError, DownloadError
from mlops_helpers.model import schema
from mlops_helpers.workspace import cache

__all__ = ["CORPORA", "SOURCES", "Comments", "Corpus", "content_hash", "load"]


@dataclass(frozen=True)
class Comments:
    """Validated comments.

    ``frame`` has the columns of ``schema.COLUMNS``; ``report`` says what was found and done on the way; ``sha256``
    identifies the frame's content (not the file's); ``citation`` is what to cite.
    """

    source: str
    frame: pd.DataFrame
    report: schema.QualityReport
    sha256: str
    citation: str

    def __len__(self) -> int:
        return len(self.frame)


Raw = tuple[pd.DataFrame, dict[str, tuple[int, str]]]


def _read_youtube(archive: zipfile.ZipFile) -> Raw:
    members = sorted(name for name in archive.namelist() if name.endswith(".csv"))
    videos = [name for name in members if not name.startswith("__MACOSX/")]
    columns = ["COMMENT_ID", "DATE", "CONTENT", "CLASS"]  # AUTHOR holds real names: it is never read
    text = {"COMMENT_ID": str, "CONTENT": str}
    parts = [
        pd.read_csv(io.BytesIO(archive.read(name)), usecols=columns, dtype=text).assign(
            group=Path(name).stem.partition("-")[2]
        )
        for name in videos
    ]
    raw = pd.concat(parts, ignore_index=True)
    raw = raw.rename(columns={"COMMENT_ID": "raw_id", "CONTENT": "text", "CLASS": "label", "DATE": "created_at"})
    raw["created_at"] = pd.to_datetime(raw["created_at"], format="ISO8601", utc=True).astype("datetime64[ns, UTC]")
    return raw, {
        "names of authors": (len(raw), "personal data that no model needs; never read"),
        "archive litter": (len(members) - len(videos), "resource forks of another file system"),
    }


def _read_sms(archive: zipfile.ZipFile) -> Raw:
    content = io.TextIOWrapper(archive.open("SMSSpamCollection"), encoding="utf-8", newline="")
    # the messages hold unpaired quotes: with quoting, two rows would be swallowed by their neighbours
    raw = pd.read_csv(content, sep="\t", names=["label", "text"], quoting=csv.QUOTE_NONE, dtype=str)
    raw["label"] = raw["label"].map({"ham": 0, "spam": 1})
    raw["raw_id"] = raw.index.astype(str)
    return raw.assign(group="sms", created_at=pd.Series(pd.NaT, raw.index, dtype="datetime64[ns, UTC]")), {}


@dataclass(frozen=True)
class Corpus:
    """A published archive: where it is, which bytes it must have, how it is read and what is known of it."""

    file_name: str
    url: str
    sha256: str
    rows: int
    dates: tuple[str, str] | None
    citation: str
    read: Callable[[zipfile.ZipFile], Raw]


CORPORA = {
    "youtube": Corpus(
        file_name="youtube+spam+collection.zip",
        url="https://archive.ics.uci.edu/static/public/380/youtube+spam+collection.zip",
        sha256="bd6182891adb3cfc8334b82c062176dfbebc563bf0ba07e31c2645f916865a0a",
        rows=1956,
        dates=("2013-07-01", "2015-06-30"),
        citation="Alberto, Lochter, Almeida: TubeSpam, ICMLA 2015; doi 10.24432/C58885; CC BY 4.0",
        read=_read_youtube,
    ),
    "sms": Corpus(
        file_name="smsspamcollection.zip",
        url="https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
        sha256="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
        rows=5574,
        dates=None,
        citation="Almeida, Gómez Hidalgo, Yamakami: DocEng 2011; doi 10.24432/C5CC84; CC BY 4.0",
        read=_read_sms,
    ),
}

SOURCES = ("simulated", *CORPORA)
"""Names that :func:`load` accepts beside the path of a CSV file."""


def content_hash(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of clean comments' content: ids, texts, labels, dates, groups.

    The order of the rows, their positions in the source and further columns do not matter.
    """
    columns = [name for name in schema.COLUMNS if name != "row"]
    ordered = frame[columns].astype({"label": int}).sort_values(columns[:2])
    lines = ordered.to_json(orient="records", lines=True, date_format="iso", date_unit="ns", force_ascii=False)
    return hashlib.sha256((lines or "").encode()).hexdigest()


def load(source: str | Path = "simulated", *, n_comments: int = 4000, seed: int = 0) -> Comments:
    """Load and validate comments.

    ``source`` is one of :data:`SOURCES` or the path of a CSV file with the columns ``text`` and ``label`` (1 or
    ``spam``, 0 or ``ham``) and optionally ``comment_id``, ``created_at``, ``group``. ``n_comments`` and ``seed`` belong
    to ``simulated``.

    Raises ``DataError`` for an unknown source or refused data, ``DownloadError`` when a corpus cannot be had.
    """
    name = str(source)
    if name == "simulated":
        from mlops_helpers.model.simulate import simulate

        world = simulate(n_comments=n_comments, seed=seed)
        raw = world.rename(columns={"comment_id": "raw_id"})[["raw_id", "text", "label", "created_at", "group"]]
        raw["created_at"] = raw["created_at"].astype("datetime64[ns, UTC]")
        frame, report = schema.clean(raw, f"simulated, seed {seed}", namespace="simulated")
        citation = "made by mlops_helpers.model.simulate"
    elif name in CORPORA:
        corpus = CORPORA[name]
        path = _fetch(name, corpus)
        try:
            with zipfile.ZipFile(path) as archive:
                raw, dropped = corpus.read(archive)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise DataError(f"{path} is not the {name} archive: {error}. {_remedy(corpus)}") from error
        frame, report = schema.clean(raw, name, rows=corpus.rows, dates=corpus.dates, dropped=dropped)
        citation = corpus.citation
    elif name.lower().endswith(".csv"):
        frame, report = schema.clean(_read_csv(Path(source)), name, namespace="csv")
        citation = name
    else:
        raise DataError(
            f"no source of comments is called {name!r}; accepted: {', '.join(SOURCES)}, or the path of a .csv file"
        )
    return Comments(name, frame, report, content_hash(frame), citation)


def _remedy(corpus: Corpus) -> str:
    return (
        f"Next: fetch {corpus.url} by hand as {corpus.file_name} into a folder and export MLOPS_DATA_DIR=FOLDER; "
        "source 'simulated' needs no file"
    )


def _fetch(name: str, corpus: Corpus) -> Path:
    """Return the path of a corpus' archive whose bytes are the pinned ones."""
    folder = os.environ.get("MLOPS_DATA_DIR")
    if folder:
        path = Path(folder) / corpus.file_name
        if not path.is_file():
            raise DataError(f"no file {corpus.file_name} in MLOPS_DATA_DIR ({folder}). {_remedy(corpus)}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != corpus.sha256:
            raise DownloadError(
                f"{path} is not the {name} corpus: its SHA-256 is {found}, pinned is {corpus.sha256}. {_remedy(corpus)}"
            )
        return path

    import pooch  # brings requests: imported where it is used

    pooch.utils.get_logger().setLevel("WARNING")
    store = pooch.create(
        path=cache("corpora"),
        base_url="",
        registry={corpus.file_name: f"sha256:{corpus.sha256}"},
        urls={corpus.file_name: corpus.url},
        retry_if_failed=2,
    )
    try:
        return Path(store.fetch(corpus.file_name))
    except (
        OSError,
        ValueError,
    ) as error:  # requests' errors are OSErrors; pooch says ValueError for a wrong hash
        raise DownloadError(f"the {name} corpus could not be downloaded: {error}. {_remedy(corpus)}") from error


def _occurrence(table: pd.DataFrame) -> pd.Series:
    return "\x1f" + table.groupby("text").cumcount().astype(str)


def _read_csv(path: Path) -> pd.DataFrame:
    accepted = "Accepted: UTF-8 CSV with a header and the columns text, label[, comment_id, created_at, group]"
    try:
        table = pd.read_csv(path, encoding="utf-8", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' parser, empty-file and decoding errors are ValueErrors
        raise DataError(f"{path.absolute()} cannot be read as CSV: {error}. {accepted}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much for an index
        raise DataError(f"{path}: rows have more fields than the header; texts with commas need quotes. {accepted}")
    missing = [column for column in ("text", "label") if column not in table]
    if missing:
        raise DataError(f"{path} has no column {' and '.join(missing)}, only {', '.join(table.columns)}. {accepted}")
    labels = table["label"].str.strip().str.lower().map({"1": 1, "spam": 1, "0": 0, "ham": 0})
    if labels.isna().any():
        row = int(labels.isna().to_numpy().argmax())
        raise DataError(f"{path}, row {row}: label {table['label'][row]!r}; accepted: 1, spam, 0, ham")
    dates = table["created_at"].replace("", None) if "created_at" in table else pd.Series(None, table.index, dtype=str)
    try:
        if not dates.dropna().str.match(r"\d{4}-").all():  # pandas would take "now" for a date
            raise ValueError("a date begins with the year")
        created = pd.to_datetime(dates, format="ISO8601", utc=True).astype("datetime64[ns, UTC]")
    except ValueError as error:
        raise DataError(f"{path}: created_at is not ISO 8601, such as 2026-01-31T12:00:00Z: {error}") from error
    return pd.DataFrame(
        {
            # without ids, the text is the identity: the same file in another order holds the same comments
            "raw_id": table["comment_id"] if "comment_id" in table else "csv:" + table["text"] + _occurrence(table),
            "text": table["text"],
            "label": labels.astype(int),
            "created_at": created,
            "group": table.get("group", "all"),
        }
    )
