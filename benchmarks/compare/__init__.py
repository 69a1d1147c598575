"""`python -m benchmarks.compare`: speed, accuracy and memory next to other systems, on any folder of recordings.

recordings ─► rounds: each system in its own process, in turn ─► figures ─► table, report, plot

Nothing heavy is imported before a system runs, and Prefect only in the processes that measure the whole flow.
"""
