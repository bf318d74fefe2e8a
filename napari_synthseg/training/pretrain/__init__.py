"""Pre-training of UNETR's and Swin UNETR's encoders on scans without labels (pre-train once, fine-tune many)."""
