"""Baselines and controls, one file a method."""

from baselines import counts, recbole, sasrec, sasrec_text, text_knn

METHODS = (*counts.METHODS, *text_knn.METHODS, *sasrec.METHODS, *sasrec_text.METHODS)
FACTORIES = recbole.FACTORIES
