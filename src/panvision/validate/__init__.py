"""The three packed datasets checked together and split."""
