"""Generators: one module a group of collections, all pure functions of seed, day and id."""
