"""Sequences of equal length."""

from lamina.data.preparation import pad_sequences as pad_sequences
