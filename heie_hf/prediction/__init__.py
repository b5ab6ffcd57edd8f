"""Prediction: a model loaded, images found, results written."""
