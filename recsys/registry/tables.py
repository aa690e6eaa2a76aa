"""The Arrow tables of a version, checked: ids, texts of items, and words of labels."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.errors import RegistryError
from recsys.ids import Ids
from recsys.registry.artifact import Artifact

TEXTS: Final = "texts"
"""The table of a version with a text of each item in each column; versions without texts lack it."""
LABELS: Final = "labels"
"""The table of a version with the word of each label, null for bins of numbers, in one column, `word`."""
SHOWN: Final = ("title", "image")
"""The columns that this table may have."""


def read_ids(name: str, table: pa.Table) -> Ids:
    """The ids in a table. Raises RegistryError if they do not ascend, since codes are looked up by binary search."""
    if table.schema.names != ["id"] or table.schema.types[0] not in (pa.int64(), pa.string()):
        raise RegistryError(f"table {name} has {table.schema}, expected ids, int64 or string")
    column = table["id"]
    if column.num_chunks > 1:
        raise RegistryError(f"table {name} has {column.num_chunks} batches, expected one")
    values = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    try:
        values.validate(full=True)
    except pa.ArrowException as error:
        raise RegistryError(f"table {name}: {error}") from error
    if values.null_count or pc.all(pc.less(values[:-1], values[1:])).as_py() is False:
        raise RegistryError(f"table {name} does not ascend by id, or lacks an id")
    return Ids(values)


def read_texts(opened: Artifact, n_items: int) -> dict[str, pa.Array]:
    """The texts of the items by column. Raises RegistryError if a column is unknown, no text, or of another length."""
    if f"tables/{TEXTS}.arrow" not in opened.manifest["files"]:
        return {}
    table = opened.table(TEXTS)
    if table.num_rows != n_items or not all(
        field.name in SHOWN and field.type == pa.string() for field in table.schema
    ):
        shape = f"{table.num_rows:,} rows of {', '.join(f'{field.name}: {field.type}' for field in table.schema)}"
        raise RegistryError(f"table {TEXTS} has {shape}; expected {n_items:,} rows of strings {', '.join(SHOWN)}")
    texts = {name: table[name].combine_chunks() for name in table.schema.names}
    for name, column in texts.items():
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            raise RegistryError(f"table {TEXTS}, column {name}: {error}") from error
    return texts


def read_words(opened: Artifact, n_labels: int) -> pa.Array | None:
    """The words of the labels. Raises RegistryError if there are not as many of them as labels."""
    if f"tables/{LABELS}.arrow" not in opened.manifest["files"]:
        return None
    table = opened.table(LABELS)
    if table.schema != pa.schema([("word", pa.string())]) or table.num_rows != n_labels:
        shape = f"{table.num_rows:,} rows of {', '.join(f'{field.name}: {field.type}' for field in table.schema)}"
        raise RegistryError(f"table {LABELS} has {shape}; expected {n_labels:,} rows of word: string")
    words = table["word"].combine_chunks()
    try:
        words.validate(full=True)
    except pa.ArrowException as error:
        raise RegistryError(f"table {LABELS}: {error}") from error
    return words
