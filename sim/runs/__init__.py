"""Many simulations: cases times replications to tables, over processes or a cluster, kept in a file if wanted."""
