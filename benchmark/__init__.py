"""transrec-bench: a benchmark suite for transferable sequential recommenders."""

__version__ = "0.1.0"
