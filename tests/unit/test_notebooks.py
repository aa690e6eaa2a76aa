"""The notebooks as files."""

import nbformat
import pytest

from tests.support.notebooks import FIGURES, FOLDER, read


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == FIGURES.keys()


@pytest.mark.parametrize("name", FIGURES)
def test_clean(name: str) -> None:
    """Nothing of a run is stored, and saving a notebook changes nothing else."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) + "\n" == (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
