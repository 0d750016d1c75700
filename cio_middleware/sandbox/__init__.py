"""
A local Customer.io: it judges what an app sends by the rules of the real one, and keeps it to look at.

It is an oracle: it shares no code with the client that it judges, and imports nothing of this package but its
errors. Start one with `cio_middleware.sandbox.server.SandboxServer`, or with ``python -m cio_middleware
sandbox``; in tests use `cio_middleware.testing.Sandbox`.
"""
