"""Charts without a cluster: the real helm and kubectl, and judges of what they render."""
