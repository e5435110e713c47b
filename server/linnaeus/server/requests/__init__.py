"""What travels between the folders: a request, its record, its refusals and the observer protocol."""
