"""From the bytes of a picture file to uint8 RGB pixels: TIFF, PNG and JPEG."""
