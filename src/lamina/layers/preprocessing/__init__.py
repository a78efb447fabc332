"""Layers that turn raw features and text into numbers for a model."""
