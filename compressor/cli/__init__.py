"""The command line: one file a command. Nothing here is imported by the rest of the project."""
