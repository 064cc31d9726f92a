"""Inversion: solvers, the loop that drives them, and the trajectory it leaves."""
