"""Filters of proposals: an item is in stock, suits the objective of the user, was not bought before.

Filters act before the pre-ranker cuts the proposals to size.
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
    objectives: int8 (n,), of the user of each row, positions in OBJECTIVES
    """

    users: np.ndarray
    items: np.ndarray
    history_rows: np.ndarray
    objectives: np.ndarray


def in_stock(proposed: Proposed, available: np.ndarray) -> np.ndarray:
    """Rows whose item is available, bool (n,); available: bool (n_items,)."""
    allowed: np.ndarray = available[proposed.items]
    return allowed


def suits_objective(proposed: Proposed) -> np.ndarray:
    """Rows of new items where a user asks for discovery, of known ones where for repeats, else all; bool (n,)."""
    new = proposed.history_rows == UNKNOWN
    wanted = proposed.objectives
    return ((wanted != DISCOVER) | new) & ((wanted != REPEAT) | ~new)


def not_bought(proposed: Proposed, by_item: Interactions) -> np.ndarray:
    """Rows of items that the user never bought, bool (n,); who asks for repeats gets bought items all the same."""
    bought = np.append(by_item.counts[:, PURCHASE] > 0, False)  # UNKNOWN, -1, reads the last entry
    return ~bought[proposed.history_rows] | (proposed.objectives == REPEAT)
