"""Baselines and controls, one file a method."""

from baselines import counts, sasrec, sasrec_text, text_knn, vq_rec, zesrec

METHODS = (
    *counts.METHODS,
    *text_knn.METHODS,
    *sasrec.METHODS,
    *sasrec_text.METHODS,
    *zesrec.METHODS,
    *vq_rec.METHODS,
)
FAMILIES = (*zesrec.FAMILIES, *vq_rec.FAMILIES)
