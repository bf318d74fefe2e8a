"""What `benchmarks/report.py` is made of: sections of docs/results.md, their rows, and the page.

sections.py   what a section is: its command, its table, the weights it says something about; how it is measured
stored.py     the rows in docs/results/*.json, with what they were measured with; which of them are stale
page.py       what stands between the marks of a section
brains.py, learning.py, clicks.py, costs.py   the sections, by subject
"""

from __future__ import annotations
