"""Baselines and controls, one file a method."""

from baselines import counts, sasrec

METHODS = (*counts.METHODS, *sasrec.METHODS)
