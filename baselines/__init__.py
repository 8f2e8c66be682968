"""Baselines and controls, one file a method."""

from baselines import counts, fdsa, sasrec, sasrec_text, text_knn, whitenrec

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *fdsa.METHODS,
    *whitenrec.METHODS,
)
