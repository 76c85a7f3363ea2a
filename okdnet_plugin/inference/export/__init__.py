"""A trained network as a file for others."""
