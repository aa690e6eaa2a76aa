"""Filters of proposals: by availability, by the user's objective and by earlier purchases.

They run before the pre-ranker, so a forbidden item never takes the place of an allowed one.
"""

from dataclasses import dataclass

import numpy as np

from recsys.features.interactions import Interactions
from recsys.schema import DISCOVER, PURCHASE, REPEAT, UNKNOWN


@dataclass(frozen=True, slots=True)
class Proposed:
    """Proposals to filter.

    users: int64 (n,), items: int32 (n,)
    history_rows: int64 (n,), row in `Profiles.by_item`, UNKNOWN where the item is new to the user
    objectives: int8 (n,), the objective of each row's user, positions in OBJECTIVES
    """

    users: np.ndarray
    items: np.ndarray
    history_rows: np.ndarray
    objectives: np.ndarray


def in_stock(proposed: Proposed, available: np.ndarray) -> np.ndarray:
    """Whether the item of each row is available, bool (n,); available: bool (n_items,)."""
    allowed: np.ndarray = available[proposed.items]
    return allowed


def suits_objective(proposed: Proposed) -> np.ndarray:
    """Whether each row suits the objective of its user, bool (n,).

    DISCOVER allows only items that are new to the user, REPEAT only items of the history, ALL both.
    """
    new = proposed.history_rows == UNKNOWN
    objectives = proposed.objectives
    return ((objectives != DISCOVER) | new) & ((objectives != REPEAT) | ~new)


def not_bought(proposed: Proposed, by_item: Interactions) -> np.ndarray:
    """Whether the user never bought the item of each row, bool (n,); with objective REPEAT every row is allowed."""
    bought = np.append(by_item.counts[:, PURCHASE] > 0, False)  # UNKNOWN is -1, so it reads the last entry
    return ~bought[proposed.history_rows] | (proposed.objectives == REPEAT)
