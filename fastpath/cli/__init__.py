"""The command line: parse, resolve one Config and one Runtime, call one workflow, render its result."""
