"""The notebooks, and how many figures each draws."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"

FIGURES = {
    "01_data_exploration": 4,
    "02_item_properties_exploration": 4,
    "03_enhancing_ml_model": 1,
    "04_adding_more_features": 5,
    "05_hybrid_optimization": 9,
}
"""How many figures each notebook draws."""


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
