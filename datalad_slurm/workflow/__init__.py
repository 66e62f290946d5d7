"""One module a command: its flow from the first step to the last."""
