"""Search: the best policies, and the number of threads to advise."""
