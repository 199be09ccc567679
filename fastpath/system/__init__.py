"""The machine around a run: files, tables, processes, interrupts. Knows nothing of patches or networks."""
