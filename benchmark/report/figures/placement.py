"""Labels beside points, so that they hide neither each other nor a point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""Left, bottom, right, top, [n, 4]."""
Points = NDArray[np.float64]
"""[n, 2]."""

_DISTANCES = (4.0, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0)
_ANGLES = np.deg2rad(np.arange(0, 360, 15))
_SWEEPS = 6

# What costs how much, in units of area of two labels that overlap.
_FAR = 0.6
"""A unit of distance from the point."""
_HIDDEN = 3.0
"""A unit of area of a point or line that is covered."""
_OUTSIDE = 10.0
"""A unit of area outside the frame."""
_CROSSED = 20.0
"""A place where the line that leads to a label crosses another label."""
_AMBIGUOUS = 4.0
"""A unit of distance by which another point is nearer to a label than its own."""


def place(
    points: Points,
    sizes: NDArray[np.float64],
    frame: NDArray[np.float64],
    obstacles: Boxes | None = None,
    radius: float = 4.0,
) -> Boxes:
    """Boxes for the labels of points, [n, 4], in the unit of the points (typographic points).

    points: centres, [n, 2]; sizes: width and height of each label, [n, 2]; frame: the box to stay in, [4]; obstacles:
    boxes that are better not covered, [m, 4]. In each round each label takes the place that costs least given all
    others; of several orders of doing so the cheapest outcome is kept. Nothing is left to chance.
    """
    if not len(points):
        return np.empty((0, 4))
    fixed = np.vstack([np.hstack([points - radius, points + radius]), *([] if obstacles is None else [obstacles])])
    choices, leaders, base = [], [], []
    for one, (point, size) in enumerate(zip(points, sizes, strict=True)):
        boxes, far = _choices(point, size, radius)
        others = np.delete(points, one, axis=0)
        nearest = _distance(boxes, others).min(axis=1, initial=np.inf)
        unsure = np.clip(_distance(boxes, point[None])[:, 0] - nearest + radius, 0, None)
        covered = overlap(boxes, fixed).sum(axis=1)
        choices.append(boxes)
        leaders.append(_leaders(boxes, point))
        base.append(_FAR * far + _HIDDEN * covered + _OUTSIDE * _outside(boxes, frame) + _AMBIGUOUS * unsure)
    x, y = points.T
    orders = [np.lexsort(keys) for keys in ((y, x), (-y, -x), (x, y), (-x, -y))]
    found = [_settle(choices, leaders, base, order) for order in orders]
    return min(found, key=lambda outcome: outcome[0])[1]


def _settle(
    choices: list[Boxes], leaders: list[Points], base: list[NDArray[np.float64]], order: NDArray[np.intp]
) -> tuple[float, Boxes]:
    """What the labels cost together, and their boxes, after rounds in this order."""
    taken = [int(np.argmin(cost)) for cost in base]

    def shared(one: int) -> NDArray[np.float64]:
        """What each choice of a label costs beside the other labels and the lines that lead to them."""
        others = [(other, taken[other]) for other in range(len(choices)) if other != one]
        boxes = np.array([choices[other][place] for other, place in others]).reshape(-1, 4)
        lines = np.array([leaders[other][place] for other, place in others]).reshape(-1, 2)
        crossed = inside(choices[one], lines).sum(axis=1)
        crossing = inside(boxes, leaders[one].reshape(-1, 2)).sum(axis=0).reshape(len(choices[one]), -1).sum(axis=1)
        return overlap(choices[one], boxes).sum(axis=1) + _CROSSED * (crossed + crossing)

    for _ in range(_SWEEPS):
        before = list(taken)
        for one in order:
            taken[one] = int(np.argmin(base[one] + shared(one)))
        if taken == before:
            break
    total = sum(base[one][place] + shared(one)[place] / 2 for one, place in enumerate(taken))
    return float(total), np.array([boxes[place] for boxes, place in zip(choices, taken, strict=True)])


def inside(boxes: Boxes, points: Points) -> NDArray[np.bool_]:
    """Whether each box holds each point, [n, m]."""
    return _distance(boxes, points) == 0


def _distance(boxes: Boxes, points: Points) -> NDArray[np.float64]:
    """From each box to each point, [n, m]; 0 inside."""
    beyond = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:])
    return np.hypot(*np.moveaxis(np.clip(beyond, 0, None), 2, 0))


def overlap(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """The area that each box shares with each of the others, [n, m]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def _choices(point: Points, size: NDArray[np.float64], radius: float) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes around a point, each touched by a ray from it, and their distances."""
    boxes, far = [], []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            x, y = np.cos(angle), np.sin(angle)
            near = point + (radius + distance - _DISTANCES[0]) * np.array([x, y])
            corner = near - size * np.array([(1 - x) / 2, (1 - y) / 2])
            boxes.append([*corner, *(corner + size)])
            far.append(distance)
    return np.array(boxes), np.array(far)


def _leaders(boxes: Boxes, point: Points) -> Points:
    """Places on the line from a point to each box, between the two, [n, 8, 2]."""
    near = np.clip(point, boxes[:, :2], boxes[:, 2:])
    return point + np.linspace(0.1, 0.95, 8)[None, :, None] * (near - point)[:, None]


def _outside(boxes: Boxes, frame: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = overlap(boxes, frame[None])[:, 0]
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inside
