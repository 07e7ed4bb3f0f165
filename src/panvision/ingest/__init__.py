"""Raw data sets in, checked and packed arrays out."""
