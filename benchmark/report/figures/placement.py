"""Labels beside points, so that they hide neither each other nor a point.

Shape suffixes: N points, each with a label; C places for a label; M obstacles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LED = 7.0
"""From this distance on a line may be expected to lead from a point to its label."""

_DISTANCES = (4.0, 9.0, 16.0, 25.0, 36.0, 50.0)
_ANGLES = np.deg2rad(np.arange(0, 360, 30))
_STARTS, _SWEEPS = 20, 20

# What costs how much, in units of area of two labels that overlap.
_FAR = 0.6
"""A unit of distance from the point."""
_HIDDEN = 3.0
"""A unit of area of a point or line that is covered."""
_OUTSIDE = 10.0
"""A unit of area outside the frame."""
_AMBIGUOUS = 4.0
"""A unit of distance by which another point is nearer to a label than its own, up to the length of a leading line."""
_CROSSED = 60.0
"""A place where the line that leads to a label crosses another label."""


def place(
    points_N2: Floats, sizes_N2: Floats, frame: Floats, obstacles_M4: Floats | None = None, radius: float = 4.0
) -> Floats:
    """Boxes (left, bottom, right, top) for the labels, [N, 4], in the unit of the points (typographic points).

    sizes: width and height of each label; frame: the box to stay in, [4]; obstacles: boxes that are better not covered;
    radius: of the points. From many starts, drawn from a fixed seed, each label in turn takes the place that costs
    least beside the others until none moves; the cheapest outcome is kept.
    """
    number = len(points_N2)
    if not number:
        return np.empty((0, 4))
    boxes_NC4, far_C = _choices(points_N2, sizes_N2, radius)
    fixed = np.vstack(
        [np.hstack([points_N2 - radius, points_N2 + radius]), *([] if obstacles_M4 is None else [obstacles_M4])]
    )
    alone_NC = np.array([_alone(boxes_NC4[one], points_N2, one, fixed, frame, radius) for one in range(number)])
    alone_NC += _FAR * far_C
    shared_NCNC = _shared(boxes_NC4, points_N2)
    generator = np.random.default_rng(0)
    best, cheapest = np.argmin(alone_NC, axis=1), np.inf
    for start in range(_STARTS):
        taken_N = best.copy() if start == 0 else generator.integers(0, len(far_C), number)
        cost = _settle(taken_N, alone_NC, shared_NCNC, generator.permutation(number))
        if cost < cheapest:
            best, cheapest = taken_N, cost
    return boxes_NC4[np.arange(number), best]


def overlap(boxes: Floats, others: Floats) -> Floats:
    """The area that each box shares with each of the others, [n, m]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def _settle(taken_N: NDArray[np.intp], alone_NC: Floats, shared_NCNC: Floats, order: NDArray[np.intp]) -> float:
    """Move labels, in place, until none gains by moving alone; returns what they cost together."""
    number = len(taken_N)
    everyone = np.arange(number)
    for _ in range(_SWEEPS):
        before = taken_N.copy()
        for one in order:
            taken_N[one] = np.argmin(alone_NC[one] + shared_NCNC[one][:, everyone, taken_N].sum(axis=1))
        if np.array_equal(before, taken_N):
            break
    pairs = shared_NCNC[everyone[:, None], taken_N[:, None], everyone, taken_N]
    return float(alone_NC[everyone, taken_N].sum() + pairs.sum() / 2)


def _choices(points_N2: Floats, sizes_N2: Floats, radius: float) -> tuple[Floats, Floats]:
    """Boxes around each point, touched by a ray from it, [N, C, 4], and how far along the ray, [C]."""
    far_C, angle_C = (grid.ravel() for grid in np.meshgrid(_DISTANCES, _ANGLES, indexing="ij"))
    ray_C2 = np.stack([np.cos(angle_C), np.sin(angle_C)], axis=1)
    near = points_N2[:, None] + ((radius + far_C - _DISTANCES[0])[:, None] * ray_C2)[None]
    corner = near - sizes_N2[:, None] * (1 - ray_C2)[None] / 2
    return np.concatenate([corner, corner + sizes_N2[:, None]], axis=2), far_C


def _alone(boxes_C4: Floats, points_N2: Floats, one: int, fixed: Floats, frame: Floats, radius: float) -> Floats:
    """What each place of a label costs whatever the others do, [C]."""
    away = _distance(boxes_C4, points_N2)
    nearest = np.delete(away, one, axis=1).min(axis=1, initial=np.inf)
    unsure = np.clip(away[:, one] - nearest + radius, 0, LED)
    outside = (boxes_C4[:, 2:] - boxes_C4[:, :2]).prod(axis=1) - overlap(boxes_C4, frame[None])[:, 0]
    return _HIDDEN * overlap(boxes_C4, fixed).sum(axis=1) + _OUTSIDE * outside + _AMBIGUOUS * unsure


def _shared(boxes_NC4: Floats, points_N2: Floats) -> Floats:
    """What two labels cost each other in each pair of their places, [N, C, N, C]."""
    number, places = boxes_NC4.shape[:2]
    leaders = _leaders(boxes_NC4, points_N2)
    shared = np.zeros((number, places, number, places))
    for one in range(number):
        for other in range(one):
            cost = overlap(boxes_NC4[one], boxes_NC4[other])
            cost += _CROSSED * _crossings(boxes_NC4[one], leaders[other])
            cost += _CROSSED * _crossings(boxes_NC4[other], leaders[one]).T
            shared[one, :, other], shared[other, :, one] = cost, cost.T
    return shared


def _leaders(boxes_NC4: Floats, points_N2: Floats) -> Floats:
    """Five places on the line from each point to each of its boxes, [N, C, 5, 2]."""
    point = points_N2[:, None]
    near = np.clip(point, boxes_NC4[..., :2], boxes_NC4[..., 2:])
    return point[:, :, None] + np.linspace(0.15, 0.95, 5)[:, None] * (near - point)[:, :, None]


def _crossings(boxes_C4: Floats, leaders: Floats) -> Floats:
    """How many places of each line lie in each box, [C, C]."""
    within = _distance(boxes_C4, leaders.reshape(-1, 2)) == 0
    return within.reshape(len(boxes_C4), len(leaders), -1).sum(axis=2).astype(np.float64)


def _distance(boxes: Floats, points: Floats) -> Floats:
    """From each box to each point, [n, m]; 0 inside."""
    beyond = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:])
    return np.hypot(*np.moveaxis(np.clip(beyond, 0, None), 2, 0))
