"""Into and out of `Domain`: RecBole atomic files, UniSRec's benchmark files, csv and parquet tables."""

from benchmark.formats.atomic import lost_in_atomic, read_as_missing, read_atomic, write_atomic
from benchmark.formats.tables import Columns, read_tables
from benchmark.formats.unisrec import read_features, read_unisrec, write_features, write_unisrec

__all__ = [
    "Columns",
    "lost_in_atomic",
    "read_as_missing",
    "read_atomic",
    "read_features",
    "read_tables",
    "read_unisrec",
    "write_atomic",
    "write_features",
    "write_unisrec",
]
