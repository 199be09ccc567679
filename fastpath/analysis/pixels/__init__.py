"""What patches look like, in numbers: pure functions of pixels and of what the index holds."""
