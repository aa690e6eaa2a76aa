"""Tables of a version's arrays and of its manifest's entries, made from their specifications."""

import inspect
from collections.abc import Mapping

import numpy as np
import settings
from pydantic import BaseModel

from recsys.specs import ArraySpec


def arrays(specs: Mapping[str, ArraySpec]) -> str:
    """Markdown of the arrays that a version must have."""
    rows = (f"| `{name}` | {_types(spec)} | {_shape(spec)} |" for name, spec in sorted(specs.items()))
    return "\n".join(["| Array | Type | Shape |", "| --- | --- | --- |", *rows])


def _types(spec: ArraySpec) -> str:
    return " or ".join(np.dtype(kind).name for kind in spec.kinds.split())


def _shape(spec: ArraySpec) -> str:
    if spec.borders:
        return f"({spec.shape[0]} + 1), borders of the rows of each among the {spec.borders}"
    return f"({', '.join(map(str, spec.shape))})"


def manifest(model: type[BaseModel]) -> str:
    """Markdown of the entries of the manifest; an entry without a text of its own has that of its class."""
    rows = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        nested = inspect.getdoc(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        meaning = settings.meaning_of(model, name) or nested or ""
        rows.append(f"| `{name}` | {settings.prose(' '.join(meaning.split()))} |")
    return "\n".join(["| Entry | Meaning |", "| --- | --- |", *rows])
