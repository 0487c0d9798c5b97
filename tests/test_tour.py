"""The notebook docs/tour.ipynb: what is stored, and that it runs from end to end."""

import nbformat
import pytest

from docs import tour

STORED = nbformat.read(tour.NOTEBOOK, as_version=4)
CODE = [cell for cell in STORED.cells if cell.cell_type == "code"]


def outputs(cells, kind):
    return [output for cell in cells for output in cell.outputs if output.output_type == kind]


def test_the_stored_notebook_shows_what_each_step_gave_and_is_small():
    assert all(cell.outputs for cell in CODE[1:]) and not outputs(CODE, "error")
    assert sum("image/jpeg" in output.data for output in outputs(CODE, "display_data")) == 4
    assert tour.NOTEBOOK.stat().st_size < 600_000
    printed = "".join(output.text for output in outputs(CODE, "stream"))
    assert "runs/tour/VOLNet/best.pt" in printed and str(tour.NOTEBOOK.parent.parent) not in printed


def test_a_progress_bar_is_stored_as_it_ended_and_long_outputs_by_their_last_lines():
    bar = "\x1b[32m 10%|#   \r 50%|##  \r100%|####\x1b[0m\r\n"
    assert tour.shorten(bar) == "100%|####\n"
    assert tour.shorten("".join(f"{i}\n" for i in range(30))) == "...\n" + "".join(f"{i}\n" for i in range(18, 30))


@pytest.mark.slow
def test_the_notebook_runs_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("TOUR_FOLDER", str(tmp_path))
    monkeypatch.setenv("TOUR_MINUTES", "0.2")
    done = tour.run()
    tour.shorten_outputs(done)
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert not outputs(code, "error")
    assert sum("image/jpeg" in output.data for output in outputs(code, "display_data")) == 4
    for net in ("AVENet", "VOLNet", "PixelPlayer"):
        assert any(f"{net}/best.pt" in output.text for output in outputs(code, "stream"))


def test_a_kernel_without_the_requirements_is_named_in_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^torch, av, matplotlib, timm missing in .*: start the kernel with"):
        exec(CODE[0].source, {})
