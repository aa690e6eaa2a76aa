"""The notebooks on the small shop: every cell runs without a warning, and figures come out."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import ray
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient

from tests.support.notebooks import FIGURES, FOLDER, read
from tests.support.shop_data import SETTINGS, write_shop

QUICK = ("ranker.max_trees=8", "examples.discover=false", "examples.cuts=2", "evaluation.seeds=1", "data.partitions=1")
BLANK = """%reset -f
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module=r"(ray|ipykernel)\\.")"""
"""What the kernel runs before each notebook, so that none knows of another; the two warn of what they do themselves."""


@pytest.fixture(scope="module")
def kernel(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """One process for all notebooks, a driver of the tests' Ray: starting each costs more than its cells."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("RECSYS_NOTEBOOK_DATA", str(write_shop(folder / "shop")))
        patch.setenv("RECSYS_NOTEBOOK_WORK", str(folder / "work"))
        patch.setenv("RECSYS_NOTEBOOK_SETTINGS", " ".join((*SETTINGS, *QUICK)))
        manager = KernelManager(transport="ipc", connection_file=str(folder / "kernel.json"), shutdown_wait_time=30)
        apart(lambda: manager.start_kernel(cwd=str(FOLDER)))
    yield manager
    apart(manager.shutdown_kernel)


def apart(call: Callable[[], object]) -> None:
    """In a thread of its own, whose event loop, which the client would leave open, is closed."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(call).result()
        thread.submit(lambda: ensure_event_loop().close()).result()


@pytest.mark.parametrize("name", FIGURES)
def test_runs(name: str, kernel: KernelManager) -> None:
    notebook = read(name)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BLANK))
    client = NotebookClient(notebook, km=kernel, timeout=120)

    def run() -> None:
        try:
            client.execute()
        finally:
            client.kc.stop_channels()

    apart(run)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = [output.text for output in outputs if output.get("name") == "stderr"]
    assert [text for text in complaints if "ipywidgets" not in text] == []  # which Ray would like to have
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == FIGURES[name]
    assert len(set(pictures)) == len(pictures)
