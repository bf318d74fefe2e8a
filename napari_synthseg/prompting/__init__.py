"""Point at something and have it segmented: the image as the model sees it, and the prompts."""
