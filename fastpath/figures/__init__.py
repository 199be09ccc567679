"""Every picture and page. Each picture is the bytes of a PNG, the same for the same input."""
