"""What the commands linnaeus-client, linnaeus-server and linnaeus-zoo share."""
