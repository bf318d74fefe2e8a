"""Objectives: what the stages of recipes train, their losses and samples; one a file, used by any recipe."""
