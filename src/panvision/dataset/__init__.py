"""The packed datasets, and the tables that stages exchange."""
