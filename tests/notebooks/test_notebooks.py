"""The notebooks run, and their main value is right."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
ANSWERS = {
    "how_many_threads.ipynb": "assert 'Use ' in form.answer.value and 'prealloc-threads=' in form.answer.value",
    "published_table.ipynb": "assert full > 0.95 and 8 < speedup < 10 and remote[1] == 0.75 and remote[8] < 0.1",
    # Times here mean nothing: other tests run beside.
    "measure_this_host.ipynb": (
        "assert rate.value > 0 and len(validation.cells) >= 3 and len(known.runs) == 3 * len(known.scenario.cases)\n"
        "assert 0.9 * speedups[n_cpus] < speedups[2 * n_cpus] <= 2.1 * speedups[n_cpus]"
    ),
    # Each slider that is moved changes what is shown: the numbers, and but for the size and the policy the first page.
    "sliders.ipynb": (
        "shown = [(numbers.value, timeline.value)]\n"
        "moves = [(preset, 'padata'), (size, '2GiB'), (threads, 4), (chunk, '128MiB'), (machine, MACHINES[-1])]\n"
        "for slider, value in moves:\n"
        "    slider.value = value\n"
        "    shown.append((numbers.value, timeline.value))\n"
        "assert len({text for text, _ in shown}) == 6 and len({picture for _, picture in shown}) >= 4\n"
        "threads.value = 64\n"
        "assert threads.value == threads.max == 16\n"
        "assert best == 64 and 13 < summary['speedup'][best] < 15"
    ),
    "threads_and_chunks.ipynb": (
        "assert list(cheap['nthreads'] >= 8) == [True, True, False]\n"
        "assert set(best.loc[MACHINES[:2], 'chunk_size']) <= {'4MiB', '16MiB'}\n"
        "assert list(table.loc['ktask-v1', MACHINES] > 100) == [True, True, False] and one['regret_worst_pct'] < 20"
    ),
    # Four helpers: normal ones cost the others most; nice ones make a job on full CPUs longer than one thread does, and
    # raised ones neither longer nor shorter. Raising helps in the other scenario too, in either order.
    "priorities.ipynb": (
        "job = four['job']\n"
        "assert job['nice'] > 10 and abs(job['raise']) < 10 and job['normal'] < -60\n"
        "assert worst['normal'] == worst.max() and worst['normal'] > worst['nice'] + 5 and worst['nice'] < 5\n"
        "assert (by_order['raise'] < 0.9 * by_order['nice']).all() and (by_order['difference (%)'].abs() < 10).all()\n"
        "assert not known and (ties or how == 'of one run, whose noise is not known')"
    ),
    "defaults.ipynb": (
        "assert all(1.9 < late[4][False, machine] < 2.01 for machine in SIZES)\n"
        "assert set(best_qemu.xs(True, level='thp')['limit']) == {'memory'}\n"
        "assert list(best_java['limit']) == ['memory', 'kernel locks', 'kernel locks', 'kernel locks']\n"
        "assert (java_regret['default'] < 2).all() and java_regret['one thread'].min() > 500\n"
        "assert (best_populated['time_s'] / best_java['time_s']).iloc[1:].max() < 0.85\n"
        "assert (advice.default['threads'], advice.recommended['threads']) == (4, 16)"
    ),
    # What the answer says of the rule follows from the figures: it beats ktask's chunks, and not the best preset.
    "own_policy.ipynb": (
        "assert gain['Tail'] > 2 and gain[best] > 2 and best in ('factoring', 'weighted')\n"
        "assert abs(gain['Tail'] - (1 - times['Tail'] / times['ktask']).mean() * 100) < 1e-9\n"
        "said = {'no different from': abs(behind.mean()) <= behind_half, 'slower than': behind.mean() > behind_half,\n"
        "        'faster than': behind.mean() < -behind_half}\n"
        "assert said[verdict] and not (verdict == 'faster than') and f'is {verdict} {best}' in answer"
    ),
}
# What takes the place of the values of the first cell of code, so that the test is short.
PARAMETERS = {
    "how_many_threads.ipynb": "MEMORY = '1GiB'\nMACHINE = __import__('sim').load_machine('laptop-ryzen-4800u')",
    "defaults.ipynb": "SIZE, LAPTOP_SIZE, QEMU_REPLICATIONS, JAVA_REPLICATIONS = '8GiB', '4GiB', 1, 1",
    "measure_this_host.ipynb": "SECONDS, REPLICATIONS = 5, 3",
    "priorities.ipynb": (
        "SIZE, REPLICATIONS, BATCH_THREADS = '8GiB', 1, [14]\n"
        "ORDER = {'replications': 3, 'kernel.chunks_per_work': 1, 'background.other.threads': [12, 16]}"
    ),
    "own_policy.ipynb": "SIZE, REPLICATIONS = '400GiB', 2",
    "threads_and_chunks.ipynb": (
        "SIZE, REPLICATIONS, THREADS, CHUNKS = '2GiB', 1, [1, 2, 12], ['4MiB', '16MiB', '256MiB']\n"
        "MACHINES = ['xeon-e7-8895v3-8s', 'xeon-platinum-8160-2s', 'laptop-ryzen-4800u']"
    ),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_and_answers(path: Path) -> None:
    """Every cell runs, figures are shown as pictures, and the values of the answer hold."""
    notebook = nbformat.read(path, as_version=4)
    if path.name in PARAMETERS:
        first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        notebook.cells[first] = nbformat.v4.new_code_cell(PARAMETERS[path.name])
    notebook.cells.append(nbformat.v4.new_code_cell(ANSWERS[path.name]))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert all("image/png" in data for data in shown if data.get("text/plain", "").startswith("<Figure"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_has_no_outputs(path: Path) -> None:
    """Outputs, execution counts and the state of widgets are stripped."""
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
