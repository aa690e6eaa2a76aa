"""Files of the category tree to its rows. No Ray: a tree is small."""

import pyarrow as pa

from recsys.data.layout.model import TreeTable
from recsys.data.readers.base import FilePiece
from recsys.data.reading import read_piece, split_file
from recsys.data.validate import FAULTS, check_tree
from recsys.schema import CATEGORY, PARENT


def read_tree(table: TreeTable | None) -> tuple[pa.Table, pa.Table, list[FilePiece]]:
    """The rows of the category tree with one chunk a column, the rejected rows, and the pieces of the files.

    Cycles and missing parents are problems of the tree, not of a row; `build_catalog` removes them.
    """
    schema = pa.schema([(CATEGORY, pa.string()), (PARENT, pa.string())])
    pieces: list[FilePiece] = []
    parts: list[tuple[pa.Table, pa.Table]] = []
    if table is not None:
        rules = table.rules
        pieces = [piece for file in table.files for piece in split_file(file, rules.columns, table.dialect)]
        chunks = ((number, chunk) for number, piece in enumerate(pieces) for chunk in read_piece(piece, rules.columns))
        parts = [check_tree(chunk, number, rules) for number, chunk in chunks]
    tree = pa.concat_tables([schema.empty_table(), *(part for part, _ in parts)]).combine_chunks()
    return tree, pa.concat_tables([FAULTS.empty_table(), *(faults for _, faults in parts)]), pieces
