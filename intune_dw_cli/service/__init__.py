"""Whom we talk to: one request done right, OData URLs and envelopes, CSDL, the warehouse."""
