"""Ends with an error of its own."""


def broken():
    raise KeyError("mine")


broken()
