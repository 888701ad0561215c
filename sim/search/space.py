"""The policies that a search may try, and which come next: Optuna's part of a search.

Optuna's sampler (TPE, Bergstra et al., NeurIPS 2011, and for several objectives Ozaki et al., JAIR 73, 2022) proposes
them in batches of a fixed size, from the values of all batches before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.scenario.streams import Streams

if TYPE_CHECKING:
    import optuna

_BATCH = 8  # trials that are proposed before the first of them is known
_MOST_ASKS = 20  # for a policy that was not tried yet, before one is drawn from all of those


class Space:
    """The policies of a search: `points` are their parameters, and a policy's number is its place in them."""

    def __init__(self, points: Sequence[Mapping[str, Any]], seed: int) -> None:
        import optuna

        self._seed = seed
        self._points = [dict(point) for point in points]
        self._numbers = {tuple(point.values()): number for number, point in enumerate(self._points)}
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(list(dict.fromkeys(p[name] for p in self._points)))
            for name in self._points[0]
        }

    def next_batch(self, tried: Sequence[int], n_trials: int, values: Callable[[int], Sequence[float]]) -> list[int]:
        """Return the next policies to try, none of them twice. If fewer are left, return all in order."""
        n_left = n_trials - len(tried)
        others = [number for number in range(len(self._points)) if number not in set(tried)]
        if len(others) <= n_left:
            return others
        n_batches = len(tried) // _BATCH
        with _quiet():
            batch = self._propose({number: values(number) for number in tried[: n_batches * _BATCH]}, n_batches)
        return [number for number in batch if number not in tried][:n_left]

    def export(self, tried: Iterable[tuple[int, Sequence[float]]], path: Path) -> None:
        """Write policies that were tried, with their values, as a study that Optuna's own tools read.

        Raises OSError if it can't be written.
        """
        import optuna
        import sqlalchemy

        trials = [self._trial(number, values) for number, values in tried]
        url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()
        try:
            with _quiet():
                storage = optuna.storages.RDBStorage(url)
                directions = [optuna.study.StudyDirection.MINIMIZE] * len(trials[0].values)
                study = optuna.create_study(storage=storage, study_name="tuning", directions=directions)
                study.add_trials(trials)
                storage.remove_session()
                storage.engine.dispose()
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise OSError(f"{path}: {error}") from None

    def _trial(self, number: int, values: Sequence[float]) -> optuna.trial.FrozenTrial:
        import optuna

        return optuna.trial.create_trial(
            params=self._points[number], distributions=self._distributions, values=list(values)
        )

    def _propose(self, known: Mapping[int, Sequence[float]], n_batches: int) -> list[int]:
        """Return the batch after this many, from the values of all policies that they tried."""
        import optuna

        random = Streams(self._seed, n_batches)["proposals"]
        sampler = optuna.samplers.TPESampler(seed=random.getrandbits(32), multivariate=True, constant_liar=True)
        n_objectives = len(next(iter(known.values()), [0.0]))
        study = optuna.create_study(directions=["minimize"] * n_objectives, sampler=sampler)
        study.add_trials([self._trial(number, values) for number, values in known.items()])
        batch: list[int] = []
        n_asks = 0
        while len(batch) < _BATCH:
            others = [number for number in range(len(self._points)) if number not in known and number not in batch]
            if not others:
                break
            trial = study.ask(self._distributions)
            number = self._numbers[tuple(trial.params[name] for name in self._distributions)]
            if number in known or number in batch:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)  # which the sampler leaves out of account
                n_asks += 1
                if n_asks < _MOST_ASKS:
                    continue
                number = random.choice(others)
            batch.append(number)
            n_asks = 0
        return batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling of each trial, and of parts of it that may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
