"""Many scans, on one machine or many: found, shared out, done once each, and reported.

A scan that is done says so itself, in the record beside its labels: nothing else has to survive for a batch to go on.
Nothing is imported here: `options` and what plans a batch do without torch.
"""
