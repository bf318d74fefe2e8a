"""The options of every training recipe and the stages they lead to; no torch here, so that a window opens quickly."""
