"""From a folder of pathology TIFF patches to a trained, calibrated tumour classifier, fast."""

__version__ = "0.1.0"
