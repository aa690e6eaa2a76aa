"""The files for Kubernetes, and strict validation of them: a field that a schema does not have is a fault."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kuberay"
SCHEMAS = {"RayService": "rayservices.v1.json", "RayJob": "rayjobs.v1.json"}
"""The operator's schemas by kind of resource."""
FREE = ("additionalProperties", "x-kubernetes-preserve-unknown-fields")
"""Keys of a schema that allow further fields on purpose."""


def documents(name: str) -> list[dict[str, Any]]:
    """The resources of a file of deploy/kuberay."""
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def resources() -> Iterator[dict[str, Any]]:
    """All resources of deploy/kuberay; the list of kustomize is none."""
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.stem != "kustomization":
            yield from documents(path.name)


def strict(schema: Any) -> Any:
    """The schema without its tolerance: an object with named properties has no others.

    The operator's schemas are made for a server that drops or refuses unknown fields itself, so they allow any.
    """
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if named and not any(key in schema for key in FREE):
        closed["additionalProperties"] = False
    return closed


def faults(resource: dict[str, Any], schemas: Path) -> list[str]:
    """The faults of a resource, each with its place; schemas: the folder of the operator's schemas"""
    kind = resource["kind"]
    if kind not in SCHEMAS:
        try:
            kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            return [f"{kind}: {'.'.join(map(str, error.path))}: {error.message}"]
        return []
    found = _validator(schemas / SCHEMAS[kind]).iter_errors(resource)
    return [f"{kind}: {error.json_path}: {error.message}" for error in found] + _of_metadata(resource)


@cache
def _validator(path: Path) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(strict(json.loads(path.read_text(encoding="utf-8"))))


def _of_metadata(resource: dict[str, Any]) -> list[str]:
    """Faults of the metadata, which the operator's schemas leave to Kubernetes."""
    return faults({"apiVersion": "v1", "kind": "ConfigMap", "metadata": resource["metadata"]}, FOLDER)
