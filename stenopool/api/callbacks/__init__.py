"""Callbacks: an event is sent to a URL when a recording or a batch has ended.

A pending callback is a small object in the destination, ``.callbacks/<id>/request.json``. Each attempt adds one beside
it, and all are deleted when the receiver has accepted the event. So any API process can continue where another one
stopped, and no two of them make the same attempt: its object is written only if it is absent.

Format: Standard Webhooks (https://www.standardwebhooks.com). ``webhook-id`` is the same for all attempts of one event,
``webhook-timestamp`` and ``webhook-signature`` (HMAC-SHA256) differ for each.
"""
