"""Which jobs are open and which outputs they claim: an SQLite database."""
