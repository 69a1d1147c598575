"""The API service: recordings in, transcripts out, the queue in between. State lives in the stores and in Prefect."""
