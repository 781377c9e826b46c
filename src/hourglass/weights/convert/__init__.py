"""Other projects' hourglass weights into ours, and ours into forms that others read."""
