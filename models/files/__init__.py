"""Files: machine files, their keys and their writer, topologies of other programs, tables of measurements."""
