"""Product codes: a text vector as a row of small integers, one a subspace.

Source: product quantisation (Jegou et al., TPAMI 2011). The space is rotated first, by the closed form of optimised
product quantisation for Gaussian data (Ge et al., CVPR 2013, section 3.3): principal axes, dealt out to the subspaces
so that the product of the variances in each is about the same.

Legend: N vectors, F width, S subspaces, G width of a subspace (F = S x G), K centroids of each.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmark.errors import InputError

SAMPLE = 64
"""Vectors a centroid that k-means sees at most."""
ITERATIONS = 20
"""Of k-means, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codebook:
    """How vectors become codes; float32 numbers that half precision holds exactly, as artefacts store them."""

    rotation_FF: NDArray[np.float32]
    centroids_SKG: NDArray[np.float32]

    def codes(self, vectors_NF: NDArray[np.float32]) -> NDArray[np.int64]:
        """The nearest centroid of each vector in each subspace, [N, S]; equal vectors have equal codes."""
        # a product may round one row otherwise than another, so each vector is looked at once
        distinct_NF, row_of_N = np.unique(vectors_NF, axis=0, return_inverse=True)
        codes_NS = np.empty((len(distinct_NF), len(self.centroids_SKG)), np.int64)
        with threadpool_limits(1):
            parts_SNG = _parts(distinct_NF @ self.rotation_FF, len(self.centroids_SKG))
            for s, (part_NG, centroids_KG) in enumerate(zip(parts_SNG, self.centroids_SKG, strict=True)):
                # |x - c|^2 without |x|^2, which is the same for all centroids
                codes_NS[:, s] = ((centroids_KG**2).sum(1) - 2 * part_NG @ centroids_KG.T).argmin(1)
        return codes_NS[row_of_N.ravel()]

    def vectors(self, codes_NS: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the codes say of the vectors, [N, F]."""
        parts_NSG = self.centroids_SKG[np.arange(len(self.centroids_SKG)), codes_NS]
        return parts_NSG.reshape(len(codes_NS), -1) @ self.rotation_FF.T


def fit(vectors_NF: NDArray[np.float32], subspaces: int, centroids: int) -> Codebook:
    """A codebook for vectors like these; fewer centroids where there are fewer distinct vectors.

    The same vectors give the same codebook: k-means starts from a fixed seed and runs in one thread. Raises InputError
    where the width is no multiple of ``subspaces``.
    """
    width = vectors_NF.shape[1]
    if width % subspaces:
        near = [n for n in range(1, width + 1) if width % n == 0]
        raise InputError(
            f"text vectors of width {width} can't be cut into {subspaces} subspaces; "
            f"set 'subspaces' to a divisor of {width}, for example {min(near, key=lambda n: abs(n - subspaces))}"
        )
    distinct_NF = np.unique(vectors_NF, axis=0)
    centroids = min(centroids, len(distinct_NF))
    chosen = np.random.default_rng(0).permutation(len(distinct_NF))[: SAMPLE * centroids]
    with threadpool_limits(1), warnings.catch_warnings():
        # distinct vectors may share a part; then some centroids are the same, which does no harm
        warnings.simplefilter("ignore", ConvergenceWarning)
        rotation_FF = _half(_rotation(distinct_NF, subspaces))
        found = [
            KMeans(centroids, max_iter=ITERATIONS, random_state=0).fit(part_NG).cluster_centers_
            for part_NG in _parts(distinct_NF[chosen] @ rotation_FF, subspaces)
        ]
    return Codebook(rotation_FF=rotation_FF, centroids_SKG=_half(np.stack(found)))


def _rotation(vectors_NF: NDArray[np.float32], subspaces: int) -> NDArray[np.float64]:
    """Principal axes as columns, those of a subspace side by side."""
    width = vectors_NF.shape[1]
    variances_F, axes_FF = np.linalg.eigh(np.cov(vectors_NF.astype(np.float64), rowvar=False, bias=True))
    # in units of the least, so that one more axis never makes a product smaller
    least = max(variances_F.max() * 1e-6, np.finfo(np.float64).tiny)
    logs_F = np.log(np.maximum(variances_F, least) / least)
    dealt: list[list[int]] = [[] for _ in range(subspaces)]
    totals = np.zeros(subspaces)
    for axis in np.argsort(-logs_F, kind="stable").tolist():
        chosen = int(totals.argmin())
        dealt[chosen].append(axis)
        totals[chosen] = np.inf if len(dealt[chosen]) == width // subspaces else totals[chosen] + logs_F[axis]
    return axes_FF[:, np.concatenate(dealt)]


def _parts(rotated_NF: NDArray[np.float32], subspaces: int) -> NDArray[np.float32]:
    """[S, N, G]"""
    return rotated_NF.reshape(len(rotated_NF), subspaces, -1).transpose(1, 0, 2)


def _half(array: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float32]:
    return array.astype(np.float16).astype(np.float32)
