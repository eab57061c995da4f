"""Proof that the networks are the papers': `python -m tests.parity DIR` runs all fixtures below DIR.

A fixture is a .json (official class, configuration, names and shapes of the state dict, inputs) and a .npz (recorded outputs). Its weights
go through `scgan_nb.official`, so that translation of names and computation are tested together.
"""
