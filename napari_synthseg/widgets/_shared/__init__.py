"""What all faces are made of: forms, jobs, messages, icons, the user's choices."""
