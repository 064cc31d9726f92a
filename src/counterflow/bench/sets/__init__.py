"""Benchmark sets, one reader each, and what a case is."""
