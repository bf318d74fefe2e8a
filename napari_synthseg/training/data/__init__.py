"""Training data: label maps, labelled scans, standardized scans, synthetic scenes."""
