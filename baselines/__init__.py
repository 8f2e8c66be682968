"""Baselines and controls, one file a method."""

from baselines import counts, s3rec, s3rec_released, sasrec, sasrec_text, text_knn

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *s3rec.METHODS,
    *s3rec_released.METHODS,
)
