"""The seam through which a service measures the stages, which themselves measure nothing."""

from typing import Final

import numpy as np


class Watch:
    """Is told about the stages of one batch. This one does nothing."""

    def ended(self, stage: str) -> None:
        """A stage has ended; the next one begins now. stage: candidates, factors, rank, blend or explanations"""

    def proposed(self, sources: tuple[str, ...], provenance: np.ndarray, filtered: int) -> None:
        """The ranker gets these candidates.

        provenance: bool (n, n_sources), which source proposed each; filtered: items that filters and rules kept out
        """


UNWATCHED: Final = Watch()
