"""Measurements as cases: published tables, CSV files of users, the runs that a calibration makes."""
