"""The training step and loop; knows batches and modules, neither loaders nor model names."""
