"""How this layer runs on Ray: blocks read by Ray Data, named tasks over them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray

from recsys.data.reading import Piece


def read_blocks(
    pieces: Sequence[Piece], parse: Callable[..., Iterator[pa.Table]], name: str, **settings: Any
) -> list["ray.ObjectRef[pa.Table]"]:
    """Blocks of `parse(piece, number, **settings)` over the pieces, read by Ray Data, in any order."""

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["number"].to_pylist():
            yield from parse(pieces[number], number, **settings)

    # the dashboard shows the function's name
    read.__name__ = read.__qualname__ = parse.__name__
    listed = ray.data.from_items([{"number": number} for number in range(len(pieces))], override_num_blocks=len(pieces))
    dataset = listed.map_batches(read, batch_size=1, batch_format="pyarrow")
    dataset.set_name(name)
    return dataset.to_arrow_refs()
