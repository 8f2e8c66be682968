"""Baselines and controls, one file a method."""

from baselines import bert4rec, bert4rec_recbole1, counts, sasrec, sasrec_text, text_knn

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *bert4rec.METHODS,
    *bert4rec_recbole1.METHODS,
)
