"""Provenance in forms that other programs read; what it holds is in `jobs.provenance`."""
