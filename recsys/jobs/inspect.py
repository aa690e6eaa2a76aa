"""The job of `recsys inspect`: what a source holds and settings for it. It trains nothing."""

from pathlib import Path

import yaml

from recsys import console
from recsys.config import TrainConfig
from recsys.data.inspect import inspect
from recsys.data.sources import Source
from recsys.data.suggest import suggest, would_train
from recsys.report.inspection import show_inspection
from recsys.training.outlook import look_ahead

SECTION = "data"
"""The section of the settings that an inspection writes."""


def run(source: Source, config: TrainConfig, now: int, write: Path | None, given: Path | None = None) -> None:
    """Print what a source holds, and settings for it in YAML.

    now: the run's clock, ms; write: a file for the settings, None to print them only
    given: the file that the settings come from; its other sections are written again as they are
    Raises DataError for a file that cannot be read, or a column of the settings that the files lack.
    """
    with console.step("read the data"):
        inspection = inspect(source, config.data, now)
    outlook = None if inspection.shop is None else look_ahead(inspection.shop, config)
    show_inspection(inspection, outlook, would_train(inspection, config.data))
    before = "" if given is None else given.read_text(encoding="utf-8")
    text = with_section(
        before, f"# recsys train --data {source.name} --config FILE\n", suggest(inspection, config.data)
    )
    console.line("settings for --config:")
    for line in text.splitlines():
        console.line(line)
    if write is not None:
        write.write_text(text, encoding="utf-8")
        console.progress(f"wrote {write}")


def with_section(before: str, title: str, section: str) -> str:
    """Settings in YAML with another section SECTION; all other lines stay as they are.

    before: the settings so far, readable YAML; title: a comment for settings that do not have it yet
    """
    lines = before.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    root = yaml.compose(before)
    sections = root.value if isinstance(root, yaml.MappingNode) else []
    if isinstance(root, yaml.MappingNode) and root.flow_style:  # {data: …} takes no lines of a block
        others = {name: value for name, value in yaml.safe_load(before).items() if name != SECTION}
        lines, sections = yaml.safe_dump(others, sort_keys=False, allow_unicode=True).splitlines(keepends=True), []
    start = end = len(lines)
    for key, value in sections:
        if key.value == SECTION:
            start, end = key.start_mark.line, value.end_mark.line + (value.end_mark.column > 0)
            while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
                end -= 1  # a comment before the next section belongs to that
    own = "" if title in lines else title
    return own + "".join([*lines[:start], section, *lines[end:]])
