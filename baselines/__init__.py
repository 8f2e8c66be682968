"""Baselines and controls, one file a method."""

from baselines import (
    bert4rec,
    bert4rec_recbole1,
    counts,
    fdsa,
    s3rec,
    s3rec_released,
    sasrec,
    sasrec_text,
    text_knn,
    whitenrec,
)

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *fdsa.METHODS,
    *whitenrec.METHODS,
    *bert4rec.METHODS,
    *bert4rec_recbole1.METHODS,
    *s3rec.METHODS,
    *s3rec_released.METHODS,
)
