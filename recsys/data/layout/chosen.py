"""The files of a source that the settings name."""

from dataclasses import replace

from recsys.data.layout.settings import FileConfig
from recsys.data.layout.unclear import listed
from recsys.data.listing import Table, path_pattern
from recsys.data.sources import Source
from recsys.errors import DataError
from recsys.storage.filesystem import File


def chosen_tables(source: Source, config: FileConfig, setting: str) -> list[Table]:
    """The files that the setting names, by their tables; none without the setting.

    The setting has names of tables, addresses, and patterns of paths inside the source. A pattern without a slash is
    one of names in any folder.
    """
    files = config.files
    if files is None:
        return []
    paths = [pattern.removeprefix("./") for pattern in files]
    patterns = [path_pattern(path if "/" in path else f"**/{path}") for path in paths]

    def is_chosen(file: File) -> bool:
        path = file.address.removeprefix(source.root).lstrip("/")
        names = {file.address, path, file.name}
        return not names.isdisjoint(files) or any(pattern.fullmatch(path) for pattern in patterns)

    tables = [
        table if table.name in files else replace(table, files=tuple(filter(is_chosen, table.files)))
        for table in source.tables
    ]
    chosen = [table for table in tables if table.files]
    if not chosen:
        names = listed([file.name for table in source.tables for file in table.files])
        raise DataError(f"{setting}: no file matches {', '.join(files)}; files: {names}")
    return chosen
