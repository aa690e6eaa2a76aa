"""The table of the ranker's features, made from their definitions."""

from collections.abc import Mapping, Sequence

from recsys.features.definitions import Feature


def page(features: Sequence[Feature], level: int) -> str:
    """Markdown of the features, a table for each group; level: of the headings."""
    blocks = []
    for group in dict.fromkeys(feature.group for feature in features):
        rows = [feature for feature in features if feature.group == group]
        lines = [
            f"| `{feature.name}` | {feature.meaning}{' (a code)' if feature.kind == 'category' else ''} |"
            for feature in rows
        ]
        blocks += [f"{'#' * level} {group}", "\n".join(["| Feature | Meaning |", "| --- | --- |", *lines])]
    return "\n\n".join(blocks) + "\n"


def session_table(features: Mapping[str, str]) -> str:
    """Markdown of the features of sessions; features: their meanings by name."""
    rows = (f"| `{name}` | {meaning} |" for name, meaning in features.items())
    return "\n".join(["| Feature | Meaning |", "| --- | --- |", *rows]) + "\n"
