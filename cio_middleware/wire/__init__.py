"""
Customer.io's protocol, pure: what an event looks like on the wire, what is too large for it, what an answer means.

Sources are named where a fact is used: TRACK-SPEC is the vendor's OpenAPI description of the Track API.
"""
