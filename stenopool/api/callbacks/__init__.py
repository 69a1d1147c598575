"""Callbacks: an event is sent to a requested address when a recording has ended.

A pending callback is a small object in the destination, ``.callbacks/<id>/request.json``. Each try adds one beside it,
and all are deleted when the receiver has accepted the event. So any API process continues where another one stopped,
and two of them do not send the same try: its object is written if absent.

Format: Standard Webhooks (https://www.standardwebhooks.com). ``webhook-id`` is the same for all tries of one event,
``webhook-timestamp`` and ``webhook-signature`` (HMAC-SHA256) differ for each.
"""
