"""Results: one run, tidy tables, result folders, regret."""

from models.results.results import (
    FolderTakenError,
    Results,
    check_folder,
    load_results,
    machine_as_data,
    machines_of,
    may_replace,
    provenance_of,
)

__all__ = [
    "FolderTakenError",
    "Results",
    "check_folder",
    "load_results",
    "machine_as_data",
    "machines_of",
    "may_replace",
    "provenance_of",
]
