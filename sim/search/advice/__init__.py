"""Advice: how many threads, and which chunk, prepare the memory of a program soonest without waste.

The recommendation is the fewest threads whose mean time is within 3 % of the least found, and of the chunks that these
may take, the largest within 1 % of the best. All candidates meet the same luck.
"""

from sim.search.advice.advice import Advice, advise, describe_advice
from sim.search.advice.candidate import recommend
from sim.search.advice.limit import limit_of
from sim.search.advice.runs import parts_of
from sim.search.advice.search import thread_counts

__all__ = ["Advice", "advise", "describe_advice", "limit_of", "parts_of", "recommend", "thread_counts"]
