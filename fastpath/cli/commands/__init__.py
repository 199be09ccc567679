"""One module a command; each defines a click command named `command` and imports its workflow when called."""
