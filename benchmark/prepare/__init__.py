"""Raw or released files -> Domain, checked against its card and kept in the cache."""

from benchmark.prepare.prepared import Prepared, prepare, raw_folder

__all__ = ["Prepared", "prepare", "raw_folder"]
