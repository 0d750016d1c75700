"""The command line: ``cio-middleware`` and ``python -m cio_middleware``."""
