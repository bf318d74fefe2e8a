"""The training loop and its parts: checkpoints, events, optimizers, losses, several processes."""
