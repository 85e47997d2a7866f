"""Model files as layers: their points, and files made of them that return or replace these."""
