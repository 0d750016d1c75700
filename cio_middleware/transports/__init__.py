"""
How a request travels. Each module implements `Transport` or `AsyncTransport` over one library.
"""
