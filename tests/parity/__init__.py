"""Proof that the networks are the papers': `python -m tests.parity DIR` runs all fixtures below DIR.

A fixture is a .json (official class, configuration, names and shapes of the state dict, inputs) and a .npz (recorded outputs). Its weights
go through `scgan_nb.official`, so that translation of names and computation are tested together. The adapters of a system are in
`tests.parity.<system>`, or in a module that another package names by an entry point of the group `scgan_nb.parity`.
"""
