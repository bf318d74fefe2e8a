"""Weights of networks: which there are (`catalogue`), and their files (`store`, `keras`, `sam`)."""
