"""The things of the model: machines, tasks, policies, scenarios, results.

Values and pure functions, without a clock and plots.
"""
