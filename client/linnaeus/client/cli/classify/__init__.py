"""`linnaeus-client classify`: inputs, outcomes and output formats."""
