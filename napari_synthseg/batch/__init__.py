"""Batches of scans, on one machine or many: finding, distributing, segmenting, reporting.

The record beside the labels of a scan tells whether it is done: a batch needs nothing else to continue. Nothing is
imported here: `options` and `plan` work without torch.
"""
