"""What a machine is: nodes, CPUs, links and calibrated rates, and what follows from them alone."""

from models.machine.machine import RECLAIM_DISTANCE, Cpu, Fit, Link, Machine, Node, Power, Rates

__all__ = ["RECLAIM_DISTANCE", "Cpu", "Fit", "Link", "Machine", "Node", "Power", "Rates"]
