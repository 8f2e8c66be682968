"""Baselines and controls, one file a method."""

from baselines import counts, sasrec, sasrec_text

METHODS = (*counts.METHODS, *sasrec.METHODS, *sasrec_text.METHODS)
