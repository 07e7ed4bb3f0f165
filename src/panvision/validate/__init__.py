"""The joint check and the split of the three packed datasets."""
