"""What `basicsr doctor` looks at. Nothing here imports more than Python's own library before it is asked to."""
