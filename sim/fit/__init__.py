"""Figures of a machine fitted to times: of runs on this host, of tables, of pages."""
