"""One training loop, several recipes; the loop yields events so a thread, a process and a terminal can follow it."""
