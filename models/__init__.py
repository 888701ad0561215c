"""What things are: machines, tasks, policies, scenarios, results. Values and pure functions; no clock and no plots."""
