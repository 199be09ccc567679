"""Augmentation: parameters of each sample, and the matrices and artefacts that they become."""
