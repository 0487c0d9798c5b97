"""Types for argparse that the scripts in data/ share."""

import argparse


def at_least(least, kind=int):
    """A type for argparse: a finite int, or float (`kind`), that is `least` or more."""

    def read(text):
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is out of range: at least {least}")
        return value

    read.__name__ = kind.__name__
    return read
