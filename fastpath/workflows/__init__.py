"""One module a command: joins stages, writes outputs, returns a result; shows nothing itself."""
