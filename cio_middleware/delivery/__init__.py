"""
Getting a batch delivered: `flow` decides, `drive` acts, `retry` and `limiter` say when.
"""
