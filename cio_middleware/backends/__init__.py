"""
What happens to a captured event: `direct` delivers it now, `queued` delivers it soon, `null` only counts it.
"""
