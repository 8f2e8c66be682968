"""Baselines and controls, one file a method."""

from baselines import (
    bert4rec,
    bert4rec_recbole1,
    ccdr,
    counts,
    ease,
    fdsa,
    recbole,
    recguru,
    s3rec,
    s3rec_released,
    sasrec,
    sasrec_text,
    text_knn,
    vq_rec,
    whitenrec,
    zesrec,
)

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *ease.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *bert4rec.METHODS,
    *bert4rec_recbole1.METHODS,
    *fdsa.METHODS,
    *s3rec.METHODS,
    *s3rec_released.METHODS,
    *ccdr.METHODS,
    *recguru.METHODS,
    *zesrec.METHODS,
    *whitenrec.METHODS,
    *vq_rec.METHODS,
)
FAMILIES = (*zesrec.FAMILIES, *vq_rec.FAMILIES)
FACTORIES = recbole.FACTORIES
