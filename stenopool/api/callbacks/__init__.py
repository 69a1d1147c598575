"""Callbacks: an event is sent to whoever asked for it when a recording is over.

What is pending is a small object in the destination, ``.callbacks/<id>/request.json``; each try leaves one beside it,
and all go when the receiver has taken it. So any API process goes on where another one stopped, and two of them do not
send the same try: its object is written if absent.

Form: Standard Webhooks (https://www.standardwebhooks.com): ``webhook-id`` is the same for all tries of one event,
``webhook-timestamp`` and ``webhook-signature`` (HMAC-SHA256) are the try's own.
"""
