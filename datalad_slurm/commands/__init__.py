"""The commands: their parameters, validation, help and rendering."""
