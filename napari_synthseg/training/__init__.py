"""Training: one loop (`engine`), recipes with their objectives and data, and runs in the background."""
