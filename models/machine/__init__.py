"""Machines: nodes, CPUs, links and calibrated rates, and the facts that follow from them alone."""

from models.machine.machine import RECLAIM_DISTANCE, Cpu, Fit, Link, Machine, Node, Power, Rates

__all__ = ["RECLAIM_DISTANCE", "Cpu", "Fit", "Link", "Machine", "Node", "Power", "Rates"]
