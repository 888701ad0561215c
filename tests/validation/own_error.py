"""The model's own error, learnt from published tables: the prior of fits, and what advice allows for.

A table's own error is the standard deviation of its predicted rows, from their mean error, less the spread that the
table states. It is taken from the table `published` of VALIDATION.md. Its logarithms over the tables have a mean and a
standard deviation: the prior (sim.fit.fit). An interval for a table takes what the others say.

The same of the table `transfer` says how far off a job is where no table of the machine tells its costs.
`python -m tests.validation.own_error` writes the section of VALIDATION.md.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
from tabulate import tabulate

from tests.published.guide import GUIDE, rows_of, section

_OF_MEAN = math.sqrt(math.pi / 2)  # standard deviation over the mean of absolute values, of what is normal
_LEAST = 0.01  # of a table that is met within its spread: nothing less is told
_UNSTATED = 0.01  # spread where a table states none


def errors(name: str) -> dict[str, tuple[int, float]]:
    """Return for each table of a section of VALIDATION.md its predicted rows, and its own error as a share."""
    heads, *rows = rows_of(section(name))
    mean, count = heads.index("mean (%)"), heads.index("predicted" if name == "published" else "cells")
    found = {}
    for row in rows:
        if not row[mean]:
            continue
        spread = row[heads.index("spread (%)")] if "spread (%)" in heads else ""
        stated = float(spread) / 100 if spread else _UNSTATED
        deviation = _OF_MEAN * float(row[mean]) / 100
        found[row[0]] = int(row[count]), math.sqrt(max(_LEAST**2, deviation**2 - stated**2))
    return found


def learnt(without: str | None = None) -> tuple[float, float]:
    """Return the median of the model's own error, and the standard deviation of its logarithm, by all tables but one.

    The scatter that few rows make by chance is taken off: that of a deviation's logarithm of n rows is 1 / sqrt(2n).
    """
    own = {name: each for name, each in errors("published").items() if name != without}
    logs = [math.log(error) for _, error in own.values()]
    by_chance = statistics.fmean(1.0 / (2 * count) for count, _ in own.values())
    return math.exp(statistics.fmean(logs)), math.sqrt(max(0.01, statistics.variance(logs) - by_chance))


def transferred() -> float:
    """Return the root mean square over tables of the error without any row of the table."""
    return float(np.sqrt(np.mean([error**2 for _, error in errors("transfer").values()])))


def own_error_section() -> str:
    """Return the tables, the prior, and the prior without each, as Markdown."""
    median, spread = learnt()
    rows = []
    for name, (count, error) in errors("published").items():
        other_median, other_spread = learnt(name)
        rows.append((name, count, f"{100 * error:.1f}", f"{100 * other_median:.1f}", f"{other_spread:.2f}"))
    heads = ["table", "predicted", "own error (%)", "median of the others (%)", "spread of the others"]
    return (
        f"In the median {100 * median:.1f} %, with a standard deviation of its logarithm of {spread:.2f}. Without any "
        f"row of a table the root mean square is {100 * transferred():.0f} %.\n\n"
        + tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)
    )


def main() -> None:
    """Write the section of VALIDATION.md."""
    from tests.validation.study import write_section

    write_section(GUIDE, "own-error", own_error_section())


if __name__ == "__main__":
    main()
