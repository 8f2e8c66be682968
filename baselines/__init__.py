"""Baselines and controls, one file a method."""

from baselines import bert4rec, bert4rec_recbole1, counts, fdsa, sasrec, sasrec_text, text_knn, whitenrec

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *fdsa.METHODS,
    *whitenrec.METHODS,
    *bert4rec.METHODS,
    *bert4rec_recbole1.METHODS,
)
