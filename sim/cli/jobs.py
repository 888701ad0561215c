"""The allowed numbers of processes, and the notes on long runs before they start."""

from __future__ import annotations

import click

from models.scenario import Scenario

JOBS = click.IntRange(1, 1024)
_MANY_CHUNKS = 200_000
_CHUNKS_PER_S = 30_000  # a rough figure: half a million chunks took 15 s of an earlier engine (`make bench`)
_MANY_STEPS = 100_000
_STEPS_PER_S = 15_000  # likewise: 250,000 bursts took 17 s, half of them beside the job and half alone


def note_long_runs(scenario: Scenario) -> None:
    """Say on stderr how long a run may take of the case with the most chunks, or other work before it, if long."""
    steps = max((case.n_steps_before for case in scenario.cases), default=0.0)
    if steps > _MANY_STEPS:
        about = f"{steps / 1e6:.1f} million" if steps >= 1e6 else f"{steps:,.0f}"
        what = "bursts and requests of other work before the job"
        click.echo(f"note: a case has about {about} {what}, {steps / _STEPS_PER_S:.0f} s a run or so", err=True)
    chunks = max((case.least_chunks for case in scenario.cases), default=0)
    if chunks > _MANY_CHUNKS:
        about = f"{chunks / 1e6:.1f} million" if chunks >= 1e6 else f"{chunks:,}"
        click.echo(f"note: a case has about {about} chunks, {chunks / _CHUNKS_PER_S:.0f} s a run or so", err=True)
