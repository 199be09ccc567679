"""From a packed store to batches on the device: order, augmentation, DALI graph, loader."""
