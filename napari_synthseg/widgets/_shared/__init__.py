"""Parts of all widgets: forms, jobs, messages, icons, remembered choices."""
