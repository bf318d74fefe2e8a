"""Objectives of the stages of recipes: networks, losses and samples, used by any recipe."""
