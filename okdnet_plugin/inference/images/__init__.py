"""Files of images for dehazing: read, restored and written with all that their kind can hold."""
