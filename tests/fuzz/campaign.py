"""`python -m tests.fuzz.campaign --seconds 600`: inputs at random for a time; what fails is kept in the corpus.

Prints the seed, so that all can be drawn again, and how many inputs of each kind were used, read and refused.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom

CORPUS = Path(__file__).parent / "corpus.tsv"
# What is quick is drawn often: in a second some hundred texts are read, or some ten scenarios simulated.
_WEIGHTS = {
    "value": 22, "text": 14, "prompt": 14, "arguments": 18, "machine": 14, "table": 10, "topology": 6,
    "scenario": 1.5, "process": 0.1, "command": 0.4, "advice": 0.005,
}  # fmt: skip
_MOST_KIB = 2**20  # 1 GiB


def found_before() -> list[tuple[str, str]]:
    """Return kind and seed of all inputs that once failed."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.exists() else []
    return [(kind, seed) for kind, _, seed in (line.partition("\t") for line in lines)]


def campaign(seconds: float, seed: int, kinds: list[str], most: int) -> int:
    """Draw inputs for a time; return how many failed."""
    from tests.fuzz.checks import KINDS, Hang, limited

    print(f"seed {seed}", flush=True)
    counts: Counter[str] = Counter()
    failed: set[str] = set()
    pick = Random(seed)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and number < most:
        kind = pick.choices(kinds, [_WEIGHTS[name] for name in kinds])[0]
        name = f"{seed}-{number}"
        number += 1
        try:
            with limited():
                counts[f"{kind} {KINDS[kind](Random(f'{kind} {name}'))}"] += 1
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _MOST_KIB
            if grown:
                print(f"{kind} {name}: more than 1 GiB of memory", flush=True)
                return 1
        except (Exception, Hang) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{kind} {type(error).__name__} {place.filename}:{place.lineno}"
            if what not in failed:
                failed.add(what)
                print(
                    f"{kind} {name}: {type(error).__name__}: {str(error)[:300]} ({place.filename}:{place.lineno})",
                    flush=True,
                )
                with CORPUS.open("a", encoding="utf-8") as file:
                    file.write(f"{kind}\t{name}\n")
            counts[f"{kind} FAILED"] += 1
        if number % 20_000 == 0:
            print(f"{number}: {dict(sorted(counts.items()))}", flush=True)
    print(f"{number} inputs, {len(failed)} kinds of failure: {dict(sorted(counts.items()))}", flush=True)
    return len(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    parser.add_argument("--kinds", default=",".join(_WEIGHTS))
    parser.add_argument("--most", type=int, default=10**9, help="inputs")
    given = parser.parse_args()
    sys.exit(min(1, campaign(given.seconds, given.seed, given.kinds.split(","), given.most)))
