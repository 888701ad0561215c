"""Advice as a form in Jupyter: client, memory, pages and machine, and the answer below."""

from __future__ import annotations

import html
from typing import Any

from models.clients import CLIENTS
from models.files.machine import load_machine, shipped_machines
from models.machine import Machine
from models.text.problems import InputError

_DEFAULT = "the client's"


def advice_form(machine: Machine | None = None, *, jobs: int = 1) -> Any:
    """Return a form that asks `sim.advise`, for a notebook (it needs ipywidgets: `pip install 'ktask-sim[lab]'`).

    Args:
        machine: a machine that stands first in the list, such as a calibrated one.
        jobs: the processes to simulate with.

    Returns:
        The form. Its parts are the attributes `client`, `memory`, `pages`, `smp`, `machine`, `ask` and `answer`.

    >>> form = advice_form()
    >>> form.client.value
    'qemu_prealloc'
    """
    import ipywidgets as widgets

    from sim.search.advice import advise, describe_advice

    machines: dict[str, str | Machine] = {} if machine is None else {f"{machine.name} (given)": machine}
    machines |= {name: name for name in shipped_machines()}
    form = widgets.VBox()
    form.client = widgets.Dropdown(options=sorted(CLIENTS), value="qemu_prealloc", description="client")
    form.memory = widgets.Text("64GiB", description="memory")
    form.pages = widgets.Dropdown(options=[_DEFAULT, "4KiB", "2MiB", "1GiB"], description="pages")
    form.smp = widgets.IntText(4, description="guest CPUs")
    form.machine = widgets.Dropdown(options=list(machines), description="machine")
    form.ask = widgets.Button(description="How many threads?", button_style="primary")
    form.bar = widgets.IntProgress(layout={"visibility": "hidden"})
    form.answer = widgets.HTML()

    def show(n_made: int, n_planned: int) -> None:
        form.bar.max, form.bar.value = max(1, n_planned), n_made

    def ask(_: object = None) -> None:
        chosen = machines[form.machine.value]
        form.ask.disabled, form.bar.layout.visibility = True, "visible"
        try:
            found = advise(
                form.client.value,
                form.memory.value,
                chosen if isinstance(chosen, Machine) else load_machine(chosen),
                page_size=None if form.pages.value == _DEFAULT else form.pages.value,
                smp=form.smp.value if form.client.value == "qemu_prealloc" else None,
                jobs=jobs,
                on_done=show,
            )
            text = describe_advice(found)
        except InputError as error:
            text = "\n".join(f"{problem.path}: {problem.message}" for problem in error.problems)
        finally:
            form.ask.disabled, form.bar.layout.visibility = False, "hidden"
        form.answer.value = f"<pre>{html.escape(text)}</pre>"

    form.ask.on_click(ask)
    form.children = [
        widgets.HBox([form.client, form.memory, form.pages]),
        widgets.HBox([form.smp, form.machine, form.ask]),
        form.bar,
        form.answer,
    ]
    return form
