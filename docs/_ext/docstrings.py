"""Docstrings of this project as reStructuredText: they are plain text with `code` and lines such as `name: meaning`."""

import re

CODE = re.compile(r"(`[^`]+`)")
MARKUP = re.compile(r"([*|\\])")
NAMED = re.compile(r"^([A-Za-z_][\w@]*(?:, [A-Za-z_]\w*)*): (?=\S)")
REFERENCE = re.compile(r"(?<=\w)_(?=\W|$)")


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring; `name: meaning` becomes an item of a list, and indented blocks stay as they are."""
    result: list[str] = []
    literal = listed = False
    for at, line in enumerate(lines):
        indented = line.startswith("    ")
        if indented and not literal and (at == 0 or not lines[at - 1].strip()):
            literal = True
            result += ["::", ""]
        elif line.strip() and not indented:
            literal = False
        if literal:
            result.append(line)
        elif match := NAMED.match(line):
            if not listed and result and result[-1].strip():
                result.append("")
            listed = True
            names = ", ".join(f"``{name}``" for name in match[1].split(", "))
            result.append(f"- {names}: {_escaped(line[match.end() :])}")
        elif listed and line.strip() and not re.match(r"(Raises|Returns|Also) ", line):
            result.append(f"  {_escaped(line.strip())}")
        else:
            if listed and line.strip():
                result.append("")
            listed = False
            result.append(_escaped(line))
    return result


def _escaped(text: str) -> str:
    """Text without markup but for code, which gets the second pair of backticks."""
    parts = CODE.split(text)
    return "".join(
        f"`{part}`" if part.startswith("`") else REFERENCE.sub(r"\\_", MARKUP.sub(r"\\\1", part)) for part in parts
    )
