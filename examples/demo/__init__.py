"""
The demo behind `make demo`: two shops, twenty people, and a Customer.io that fails five times.

Read `shop_starlette.py` and `shop_flask.py` to see what an app has to do; the rest drives and checks them.
"""
