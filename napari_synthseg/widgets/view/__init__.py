"""The camera: anatomical views, their buttons, keys and commands."""
