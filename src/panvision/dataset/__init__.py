"""The packed dataset and the tables that stages hand on."""
