"""Divide clips into train, val and test, and find what two of them share."""
