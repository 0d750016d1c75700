"""
Where an event waits between its capture and its delivery.
"""
