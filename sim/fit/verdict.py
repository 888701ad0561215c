"""The verdict of a fit: whether the model describes a table, and if not, the rows that it misses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.measured.measurements import spread_of

DESCRIBES, WITHIN, BUT_FOR, UNDECIDED, NOT = "describes", "within 10 %", "but for", "undecided", "does not describe"
_BAR, _SECOND_BAR = 5.0, 10.0  # mean error in per cent: as of published tables (sim.compare.published)
_MOST_APART = 6  # one row in this many may miss in a table that is described
_FAR_OFF = 3.0  # such a row misses by this many bars
_LEAST_ROWS = 4  # to judge by
_EXPLAINED = 0.6  # share of the misses' variance that two groups of rows have to explain to be named


@dataclass(frozen=True)
class Verdict:
    """Whether the model describes a table.

    Attributes:
        kind: DESCRIBES, WITHIN (10 %), BUT_FOR (a few rows), UNDECIDED or NOT.
        words: in a few words.
        details: the worst rows, and their possible causes.
    """

    kind: str
    words: str
    details: str = ""

    @property
    def describes(self) -> bool:
        """Return whether nothing says that it does not."""
        return self.kind != NOT

    @property
    def exit_status(self) -> int:
        """3 if the model does not describe the table, else 0."""
        return 3 if self.kind == NOT else 0

    def sentence(self) -> str:
        """Return it as a person reads it, first of all."""
        return f"The model {self.words}.{' ' * bool(self.details)}{self.details}"


def judge(cells: pd.DataFrame, model_error: float, far: Sequence[str] = ()) -> Verdict:
    """Return the verdict by fitted rows.

    A table is described if the rows miss by at most 5 % in the mean, or by their stated spread, and each row predicted
    by the others by at most twice that. If that takes figures far from what was known before, it is undecided.

    Args:
        cells: a table's rows as `sim.fit.table.TableFit` has them.
        model_error: the model's own error, as estimated.
        far: the figures that ended far from what was known before, each with a factor.
    """
    found = _by_rows(cells, model_error)
    if not far or found.kind not in (DESCRIBES, WITHIN, BUT_FOR):
        return found
    only = f"{found.words}, but only with figures far from what was known before ({', '.join(far)})"
    cause = "If a figure can't be so, the rows want something else that the machine's file or the model lacks."
    return Verdict(UNDECIDED, only, f"{found.details} {cause}".strip())


def _by_rows(cells: pd.DataFrame, model_error: float) -> Verdict:
    own = cells[cells["fitted"]]
    errors, left_out = own["error_pct"].abs(), own["left_out_error_pct"].abs()
    stated = spread_of(own).mean() * 100
    bar = max(_BAR, 0.0 if math.isnan(stated) else float(stated))
    second = max(_SECOND_BAR, bar)
    told = (
        f"fitted rows are off by {errors.mean():.1f} % in the mean, each predicted by the others by "
        f"{left_out.mean():.1f} %, {left_out.max():.1f} % at worst"
    )
    if errors.mean() <= second and len(own) < _LEAST_ROWS:
        return Verdict(
            UNDECIDED, f"fits {len(own)} row{'s' * (len(own) > 1)}, too few to tell whether it describes them"
        )
    for most, kind, words in (
        (bar, DESCRIBES, "describes the table"),
        (second, WITHIN, "describes the table within 10 %"),
    ):
        if errors.mean() <= most and left_out.mean() <= 2 * most:
            return Verdict(kind, f"{words}: {told}")
    apart = errors > _FAR_OFF * bar
    rest = errors[~apart]
    if 0 < apart.sum() <= max(1, len(own) // _MOST_APART) and len(rest) >= _LEAST_ROWS and rest.mean() <= second:
        return Verdict(
            BUT_FOR, f"describes the table but for {_rows(own[apart])}", f"The others are off by {rest.mean():.1f} %."
        )
    if errors.mean() <= second:
        what = "fits the rows, but does not foretell one from the others"
        return Verdict(UNDECIDED, f"{what}: {told}", "More rows are needed, or fewer figures (--fit).")
    worst = own.loc[errors.sort_values(ascending=False).index[:3]]
    return Verdict(
        NOT,
        f"does not describe the table: fitted rows are off by {errors.mean():.1f} % in the mean; the worst are "
        f"{_rows(worst)}",
        " ".join(_explanations(own, bar, model_error)),
    )


def _rows(rows: pd.DataFrame) -> str:
    """Return rows in words: the values that tell them apart, and their errors."""
    known = [name for name in rows.columns if name in _TOLD or "." in str(name)]
    parts = []
    for _, row in rows.iterrows():
        what = ", ".join(f"{name} {_plain(row[name])}" for name in known if pd.notna(row[name])) or "a row"
        parts.append(f"{what} ({row['error_pct']:+.0f} %)")
    return "; ".join(parts)


_TOLD = ("nthreads", "size_gib", "page_size", "chunk", "node", "kernel")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _explanations(own: pd.DataFrame, bar: float, model_error: float) -> Iterator[str]:
    """Yield the patterns of the misses."""
    misses = -np.log1p(own["error_pct"].to_numpy(float) / 100)  # positive: slower than the model
    measured, predicted = own["time_s"], own["predicted_s"]
    if len(own) >= _LEAST_ROWS and measured.corr(predicted, method="spearman") < 0.3:
        yield (
            "The model's times do not even go up and down with the measured ones: are columns swapped, or is it "
            "another client or kernel?"
        )
    split = _best_split(own, misses)
    if split is not None and split[0] >= _EXPLAINED:
        _, column, value, above, below = split
        yield (
            f"What would explain it: rows with {column} from {value} on take {_times(above)} the model's time, the "
            f"others {_times(below)}: a limit, or a step, there that the model or the "
            "machine's file lacks."
        )
    else:
        yield (
            f"The misses follow no column: a scatter of {100 * model_error:.0f} % that no figure explains. Measure "
            "each row several times and state stdev_s, or add the column that tells the rows apart."
        )
    if spread_of(own).isna().all():
        needed = max(bar, 100 * float(np.std(misses)))
        yield f"No spread is stated (stdev_s); with one of {needed:.0f} % it would be noise."


def _times(log_factor: float) -> str:
    return f"{math.exp(log_factor):.2f} times"


def _best_split(own: pd.DataFrame, misses: Any) -> tuple[float, str, str, float, float] | None:
    """Return the split of the rows by a column that explains most of the misses: share, column, value, means."""
    total = float(((misses - misses.mean()) ** 2).sum())
    best: tuple[float, str, str, float, float] | None = None
    for column in own.columns:
        if column not in ("nthreads", "size_gib") or total <= 0.0:
            continue
        values = own[column].to_numpy(float)
        for value in sorted(set(values[~np.isnan(values)]))[1:]:
            above = values >= value
            parts = misses[above], misses[~above]
            if min(map(len, parts)) < 1:
                continue
            within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
            share = 1.0 - within / total
            if best is None or share > best[0]:
                best = share, str(column), f"{value:g}", float(parts[0].mean()), float(parts[1].mean())
    return best
