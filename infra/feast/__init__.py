"""A Feast repository over the tables: run ``feast`` in this folder."""
