"""The API service: recordings, transcripts and the queue. Its state is in the stores and in Prefect."""
