"""Who one is in the embedded AWS, and where, unless one says otherwise."""

HOST = "127.0.0.1"
ACCESS_KEY = SECRET_KEY = "test"
DEFAULT_REGION = "us-west-2"
