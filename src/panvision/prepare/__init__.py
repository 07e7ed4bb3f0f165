"""Raw datasets in, checked and packed arrays out."""
