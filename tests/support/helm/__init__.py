"""Charts without a cluster: the real helm and kubectl, and checks of rendered objects."""
